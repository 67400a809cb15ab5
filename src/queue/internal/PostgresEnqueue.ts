/** How jobs get in, as functions of the database: put in, replaced by their unique key, promoted when due, redriven. */
export const enqueueParams = `  _shapes jsonb, _shape int[], _payload text[], _key text[], _id text[], _trace text[],
  _due_in double precision[], _due_at double precision[], _expires_in double precision[], _expires_at double precision[],
  _unique_key text[], _unique_while double precision[], _unique_conflict text[]`

export const enqueueing = (s: string): string => `
-- The line of a job, of what can be in its way: those of its tags that have a limit, and its key where the queue caps keys.
create function ${s}.line_of(_epoch int, _queue text, _tags text[], _key text, _weight double precision)
returns bigint language sql immutable parallel safe as $$
  select hash_array_extended(
    array[_queue, 'k' || _key, case when _key is not null or _tags <> '{}' then _weight::text end] || _tags, _epoch)
$$;

create function ${s}.place(_queue text, _tags text[], _key text, _weight double precision,
  out line bigint, out epoch int, out limited boolean) language plpgsql stable as $$
#variable_conflict use_column
declare
  _limited text[] := '{}';
  _capped text;
begin
  epoch := (select epoch from ${s}.config);
  if _tags <> '{}' then
    _limited := array(select l.tag from ${s}.tag_limit l where l.tag = any(_tags) order by 1);
  end if;
  if _key is not null then
    _capped := (select _key from ${s}.queue q where q.name = _queue and q.is_capped);
  end if;
  line := ${s}.line_of(epoch, _queue, _limited, _capped, _weight);
  limited := _limited <> '{}' or _capped is not null;
end $$;

-- Start-time fair queueing: a job comes in where the last one of its key that waits leaves off, and not before what was claimed.
create function ${s}.rank_of(_queue text, _key text) returns double precision language plpgsql stable as $$
begin
  return greatest(
    0,
    (select rank from ${s}.served where queue = _queue order by rank desc limit 1),
    case when _key is null
      then (select rank + weight from ${s}.job where state = 1 and ranked and queue = _queue and key is null order by rank + weight desc limit 1)
      else (select rank + weight from ${s}.job where state = 1 and ranked and queue = _queue and key = _key order by rank + weight desc limit 1)
    end
  );
end $$;

create function ${s}.notify(_what text) returns void language sql as $$
  select pg_notify('tasklayer:' || hashtext(${literal(s)}), _what)
$$;

-- The keys of a queue share it from its first job with a key on.
create function ${s}.mark_keyed(_queue text) returns void language plpgsql as $$
begin
  insert into ${s}.queue(name, keyed) values (_queue, true) on conflict (name) do update set keyed = true;
  perform pg_advisory_xact_lock_shared(${lock(s)}, 3);
  update ${s}.job set ranked = true where queue = _queue and not ranked and state < 2;
end $$;

create function ${s}.id_of(_id text, _seq bigint) returns text language sql immutable parallel safe as $$
  select coalesce(_id, _seq::text)
$$;

-- An id that was given goes first.
create function ${s}.find(_id text) returns bigint language plpgsql stable as $$
declare found bigint;
begin
  select seq into found from ${s}.job where id = _id;
  if found is not null then return found; end if;
  select seq into found from ${s}.ended where id = _id;
  if found is not null or _id !~ '^[1-9][0-9]{0,17}$' then return found; end if;
  select seq into found from ${s}.job where seq = _id::bigint and id is null;
  if found is not null then return found; end if;
  select seq into found from ${s}.ended where seq = _id::bigint and id is null;
  return found;
end $$;

-- Puts jobs in, in the order given. What is the same for many is said once, in shapes: of each its queue, name, tags, weight, priority, whether it
-- runs at most once, and how often it may crash. Says what was refused, where something was; nothing is put in then.
create function ${s}.enqueue(
${enqueueParams}
) returns table(id text, what text, detail text) language plpgsql set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
  _now double precision := ${s}.clock();
  _epoch int;
  _line bigint;
  _seqs bigint[];
  _seq bigint;
  _where text;
  _due double precision;
  _later boolean;
  _is_each boolean;
  _rank double precision;
  _first jsonb;
  _queue text;
  _tags text[] := '{}';
  _limiting text[] := '{}';
  _weight double precision;
  _priority double precision;
  x record;
begin
  -- Most often all are of one kind, and nobody has a key: nothing to be joined. (Each statement costs as much as the insert of one job, and more the
  -- more there is in it; what is none costs nothing.)
  if jsonb_array_length(_shapes) = 1 and _key is null and _id is null and _unique_key is null then
    _first := _shapes->0;
    _queue := _first->>0;
    select c.epoch, coalesce(q.keyed, false) keyed, coalesce(q.is_bounded, false) bounded,
        exists(select from ${s}.numeric_ids) or (q.is_bounded is true and q.max_queued is not null) is_each
      into x from ${s}.config c left join ${s}.queue q on q.name = _queue;
    _is_each := x.is_each;
    _epoch := x.epoch;
  else
    select c.epoch, _id is not null or _unique_key is not null or exists(select from ${s}.numeric_ids)
        or exists(select from ${s}.queue q where q.is_bounded and q.max_queued is not null and q.name in (select v->>0 from jsonb_array_elements(_shapes) v))
        or (_key is not null and exists(select from jsonb_array_elements(_shapes) v left join ${s}.queue q on q.name = v->>0 where q.keyed is not true))
      into _epoch, _is_each from ${s}.config c;
  end if;
  if _is_each then
    return query select * from ${s}.enqueue_each(_shapes, _shape, _payload, _key, _id, _trace, _due_in, _due_at, _expires_in, _expires_at, _unique_key, _unique_while, _unique_conflict);
    return;
  end if;
  what := 'new';
  if _first is not null then
    if _first->2 <> '[]' then
      _tags := array(select jsonb_array_elements_text(_first->2));
      _limiting := array(select l.tag from ${s}.tag_limit l where l.tag = any(_tags) order by 1);
    end if;
    _weight := (_first->>3)::float8;
    _priority := (_first->>4)::float8;
    _line := ${s}.line_of(_epoch, _queue, _limiting, null, _weight);
    _rank := 0;
    if x.keyed then _rank := ${s}.rank_of(_queue, null); end if;
    if cardinality(_payload) = 1 then
      _due := coalesce(_now + _due_in[1], _due_at[1], _now);
      _later := _due > _now;
      insert into ${s}.job(line, priority, rank, due, enqueued, expires, epoch, weight, max_crashes, state, limited, ranked, bounded, once, name, queue, tags, payload, trace)
        values (_line, _priority, case when not _later then _rank end, _due, _now, coalesce(_now + _expires_in[1], _expires_at[1]), _epoch, _weight, (_first->>6)::int,
          case when _later then 0 else 1 end, _limiting <> '{}', x.keyed, x.bounded, (_first->>5)::boolean, _first->>1, _queue, _tags, _payload[1], _trace[1])
        returning seq into _seq;
      perform ${s}.notify(case when _later then '' else concat_ws(',', _line, _priority, _rank, _seq) end);
      id := _seq::text;
      return next;
      return;
    end if;
    with n as (
      insert into ${s}.job(line, priority, rank, due, enqueued, expires, epoch, weight, max_crashes, state, limited, ranked, bounded, once, name, queue, tags, payload, trace)
      select _line, _priority, case when d.due > _now then null when x.keyed then _rank + _weight * (count(*) filter (where d.due <= _now) over (order by j.o) - 1) else 0 end,
        d.due, _now, coalesce(_now + expires_in, expires_at), _epoch, _weight, (_first->>6)::int, case when d.due > _now then 0 else 1 end,
        _limiting <> '{}', x.keyed, x.bounded, (_first->>5)::boolean, _first->>1, _queue, _tags, j.payload, j.trace
      from unnest(_payload, _trace, _due_in, _due_at, _expires_in, _expires_at)
          with ordinality j(payload, trace, due_in, due_at, expires_in, expires_at, o)
        cross join lateral (select coalesce(_now + due_in, due_at, _now) due) d
      order by j.o
      returning seq, state, rank
    )
    select array_agg(n.seq order by n.seq), concat_ws(',', _line, _priority, min(n.rank), min(n.seq) filter (where n.state = 1)), bool_or(n.state = 0)
      from n into _seqs, _where, _later;
    perform ${s}.notify(case when _later then '' else _where end);
    foreach _seq in array _seqs loop
      id := _seq::text;
      return next;
    end loop;
    return;
  end if;
    with x as materialized (
      select e.i - 1 i, v->>0 queue, v->>1 as name, t.tags, (v->>3)::float8 weight, (v->>4)::float8 priority, (v->>5)::boolean once, (v->>6)::int max_crashes,
        coalesce(q.keyed, false) keyed, coalesce(q.is_capped, false) capped, coalesce(q.is_bounded, false) bounded, p.line, p.limited, p.tags limiting
      from jsonb_array_elements(_shapes) with ordinality e(v, i)
        left join ${s}.queue q on q.name = v->>0
        cross join lateral (select array(select jsonb_array_elements_text(v->2)) tags) t
        cross join lateral (
          select ${s}.line_of(_epoch, v->>0, l.tags, null, (v->>3)::float8) line, l.tags <> '{}' limited, l.tags
          from (select case when t.tags = '{}' then '{}' else array(select l.tag from ${s}.tag_limit l where l.tag = any(t.tags) order by 1) end tags) l
        ) p
    ), j as (
      select j.*, x.*, coalesce(_now + due_in, due_at, _now) due, coalesce(_now + expires_in, expires_at) expires,
        coalesce(_now + due_in, due_at, _now) > _now later
      from unnest(_shape, _payload, _key, _trace, _due_in, _due_at, _expires_in, _expires_at)
          with ordinality j(shape, payload, key, trace, due_in, due_at, expires_in, expires_at, o)
        join x on x.i = j.shape
    ), ranked as (
      select j.o, r.rank + coalesce(sum(j.weight) over (partition by j.queue, j.key order by j.o rows between unbounded preceding and 1 preceding), 0) rank
      from j join (select d.queue, d.key, ${s}.rank_of(d.queue, d.key) rank from (select distinct queue, key from j where keyed and not later) d) r
        on r.queue = j.queue and r.key is not distinct from j.key
      where j.keyed and not j.later
    ), n as (
    insert into ${s}.job(line, priority, rank, due, enqueued, expires, epoch, weight, max_crashes, state, limited, ranked, bounded, once, name, queue, tags, key, payload, trace)
    select
      case when j.capped and j.key is not null then ${s}.line_of(_epoch, j.queue, j.limiting, j.key, j.weight) else j.line end,
      j.priority,
      case when j.later then null when j.keyed then r.rank else 0 end,
      j.due, _now, j.expires, _epoch, j.weight, j.max_crashes, case when j.later then 0 else 1 end,
      j.limited or (j.capped and j.key is not null), j.keyed, j.bounded, j.once, j.name, j.queue, j.tags, j.key, j.payload, j.trace
    from j left join ranked r on r.o = j.o order by j.o
      returning seq, state, line, priority, rank
    )
    select (select array_agg(n.seq order by n.seq) from n),
      (select case when count(*) <= 20 then string_agg(concat_ws(',', l.line, l.priority, l.rank, l.seq), ';') end from (
        select distinct on (n.line) n.line, n.priority, n.rank, n.seq from n where n.state = 1 order by n.line, n.priority, n.rank, n.seq
      ) l), (select bool_or(n.state = 0) from n)
      into _seqs, _where, _later;
  perform ${s}.notify(case when _later then '' else coalesce(_where, '') end);
  foreach _seq in array _seqs loop
    id := _seq::text;
    return next;
  end loop;
end $$;

-- One by one: what has an id, a unique key, a queue with a bound, or the first key of its queue.
create function ${s}.enqueue_each(
${enqueueParams}
) returns table(id text, what text, detail text) language plpgsql as $$
#variable_conflict use_column
declare
  _now double precision := ${s}.clock();
  x record;
  _ids text[] := '{}';
  _whats text[] := '{}';
  _what text;
  _other ${s}.job;
  _taken ${s}.taken;
  _q ${s}.queue;
  _new ${s}.job;
  _n bigint;
  _grown text[] := '{}';
  _numeric boolean;
  _keyed text[] := '{}';
begin
  begin
    -- Whoever puts something in a bounded queue waits for those who did and have not committed: the bound is exact.
    for _q in select q.* from ${s}.queue q where q.is_bounded and q.max_queued is not null
      and q.name in (select v->>0 from jsonb_array_elements(_shapes) v) order by q.name
    loop
      perform pg_advisory_xact_lock(hashtext(${literal(s)} || ' queue'), hashtext(_q.name));
    end loop;
    if exists(select from unnest(_id) i where i ~ '^[1-9][0-9]{0,17}$') and not exists(select from ${s}.numeric_ids) then
      insert into ${s}.numeric_ids values (true) on conflict do nothing;
    end if;
    _numeric := exists(select from ${s}.numeric_ids);
    for x in
      select j.*, v->>0 queue, v->>1 as name, array(select jsonb_array_elements_text(v->2)) tags, (v->>3)::float8 weight, (v->>4)::float8 priority,
        (v->>5)::boolean once, (v->>6)::int max_crashes, coalesce(q.keyed, false) keyed, coalesce(q.is_bounded, false) bounded, p.line, p.epoch, p.limited,
        coalesce(_now + due_in, due_at, _now) due, coalesce(_now + expires_in, expires_at) expires
      from unnest(_shape, _payload, _key, _id, _trace, _due_in, _due_at, _expires_in, _expires_at, _unique_key, _unique_while, _unique_conflict)
          with ordinality j(shape, payload, key, given, trace, due_in, due_at, expires_in, expires_at, unique_key, unique_while, conflict, o)
        cross join lateral (select _shapes->j.shape v) e
        left join ${s}.queue q on q.name = v->>0
        cross join lateral ${s}.place(v->>0, array(select jsonb_array_elements_text(v->2)), j.key, (v->>3)::float8) p
      order by j.o
    loop
      _what := 'new';
      _other := null;
      if x.unique_key is not null then
        select * into _taken from ${s}.taken t where t.key = x.unique_key;
        if found and coalesce(_taken.until > _now, true) then
          if x.conflict = 'error' then
            raise exception using errcode = 'TL002', message = x.unique_key, detail = _taken.id;
          end if;
          if x.conflict = 'ignore' then
            _ids := _ids || _taken.id;
            _whats := _whats || 'existing'::text;
            continue;
          end if;
          -- The job first, then its key: as whoever claims or ends it does.
          perform pg_advisory_xact_lock_shared(${lock(s)}, 3);
          select * into _other from ${s}.job j where j.seq = _taken.job for update;
          perform from ${s}.taken t where t.key = x.unique_key and t.job = _taken.job for update;
          if not found then raise exception using errcode = 'TL001'; end if;
          if _other.state < 2 then
            _what := 'replaced';
          elsif _other.state = 2 then
            update ${s}.job set cancel = true where seq = _other.seq;
          end if;
        end if;
      end if;
      if _what = 'new' and x.given is not null then
        _n := coalesce((select seq from ${s}.job j where j.id = x.given), (select seq from ${s}.ended j where j.id = x.given));
        if _n is null and x.given ~ '^[1-9][0-9]{0,17}$' then _n := ${s}.find(x.given); end if;
        if _n is not null then raise exception using errcode = 'TL003', message = x.given, detail = x.given; end if;
      end if;
      if x.keyed or x.queue = any(_keyed) then
        x.keyed := true;
      elsif x.key is not null then
        perform ${s}.mark_keyed(x.queue);
        _keyed := _keyed || x.queue;
        x.keyed := true;
      end if;
      _new.line := x.line; _new.epoch := x.epoch; _new.limited := x.limited; _new.ranked := x.keyed; _new.bounded := x.bounded;
      _new.priority := x.priority; _new.weight := x.weight; _new.max_crashes := x.max_crashes; _new.once := x.once;
      _new.name := x.name; _new.queue := x.queue; _new.tags := x.tags; _new.key := x.key; _new.payload := x.payload; _new.trace := x.trace;
      _new.due := x.due; _new.expires := x.expires; _new.id := x.given; _new.unique_key := null; _new.unique_while := null;
      _new.state := case when x.due > _now then 0 else 1 end;
      -- -1: while it waits, -2: until it ends, else for so many milliseconds.
      if x.unique_while <> 0 then
        _new.unique_key := x.unique_key;
        _new.unique_while := case x.unique_while when -1 then 1 when -2 then 2 else 3 end;
      end if;
      _new.rank := case
        when _what = 'replaced' and _other.queue = x.queue and _other.key is not distinct from x.key then _other.rank end;
      if _new.state = 1 and _new.rank is null then
        _new.rank := case when x.keyed then ${s}.rank_of(x.queue, x.key) else 0 end;
      end if;
      if _what = 'replaced' then
        update ${s}.job j set line = _new.line, epoch = _new.epoch, limited = _new.limited, ranked = _new.ranked, bounded = _new.bounded,
          priority = _new.priority, weight = _new.weight, max_crashes = _new.max_crashes, once = _new.once, name = _new.name, queue = _new.queue,
          tags = _new.tags, key = _new.key, payload = _new.payload, trace = _new.trace, due = _new.due, expires = _new.expires, state = _new.state,
          unique_key = _new.unique_key, unique_while = _new.unique_while, rank = _new.rank
          where j.seq = _other.seq;
        _n := _other.seq;
        _ids := _ids || ${s}.id_of(_other.id, _other.seq);
      else
        loop
          _n := nextval(pg_get_serial_sequence(${literal(`${s}.job`)}, 'seq'));
          exit when not _numeric or not exists(select from ${s}.job j where j.id = _n::text) and not exists(select from ${s}.ended j where j.id = _n::text);
        end loop;
        insert into ${s}.job(seq, line, priority, rank, due, enqueued, expires, epoch, weight, max_crashes, state, unique_while, limited, ranked, bounded, once, name, queue, tags, key, payload, id, unique_key, trace)
          overriding system value values (_n, _new.line, _new.priority, _new.rank, _new.due, _now, _new.expires, _new.epoch, _new.weight, _new.max_crashes, _new.state, _new.unique_while, _new.limited, _new.ranked, _new.bounded, _new.once, _new.name, _new.queue, _new.tags, _new.key, _new.payload, _new.id, _new.unique_key, _new.trace)
          on conflict do nothing returning seq into _n;
        if _n is null then raise exception using errcode = 'TL003', message = x.given, detail = x.given; end if;
        _ids := _ids || ${s}.id_of(x.given, _n);
        _grown := _grown || x.queue;
      end if;
      if x.unique_key is not null then
        if _new.unique_key is null then
          delete from ${s}.taken t where t.key = x.unique_key;
        else
          -- Two at once: the second waits for the first here, and finds the key taken.
          insert into ${s}.taken(key, job, id, kind, until) values (x.unique_key, _n, _ids[cardinality(_ids)], _new.unique_while, case when _new.unique_while = 3 then case _what when 'replaced' then _other.enqueued else _now end + x.unique_while end)
            on conflict (key) do update set job = excluded.job, id = excluded.id, kind = excluded.kind, until = excluded.until
              where taken.job is not distinct from coalesce(_taken.job, excluded.job);
          if not found then raise exception using errcode = 'TL001'; end if;
        end if;
      end if;
      _whats := _whats || _what;
    end loop;
    for _q in select q.* from ${s}.queue q where q.is_bounded and q.max_queued is not null
      and q.name = any(_grown)
    loop
      select count(*) into _n from (select from ${s}.job j where j.queue = _q.name and j.state < 2 and j.bounded limit (_q.max_queued + 1)::bigint) j;
      if _n > _q.max_queued then
        raise exception using errcode = 'TL004', message = _q.name, detail = _q.max_queued::text;
      end if;
    end loop;
  exception when sqlstate 'TL001' or sqlstate 'TL002' or sqlstate 'TL003' or sqlstate 'TL004' then
    get stacked diagnostics _what = pg_exception_detail;
    return query select sqlerrm, case sqlstate when 'TL001' then 'again' when 'TL002' then 'unique' when 'TL003' then 'id' else 'full' end, _what;
    return;
  end;
  perform ${s}.notify('');
  return query select u.id, u.what, null::text from unnest(_ids, _whats) with ordinality u(id, what, o) order by o;
end $$;

-- Due jobs wait; of those that are ranked one by one, as each comes in behind the one before.
create function ${s}.promote(_now double precision) returns int language plpgsql as $$
declare
  _job record;
  n int;
  m int := 0;
begin
  with d as materialized (
    select seq from ${s}.job where state = 0 and due <= _now and not ranked order by due, seq limit 1000 for update skip locked
  )
  update ${s}.job j set state = 1, rank = coalesce(rank, 0) from d where j.seq = d.seq;
  get diagnostics n = row_count;
  for _job in select seq, queue, key from ${s}.job where state = 0 and due <= _now and ranked order by due, seq limit 1000 for update skip locked loop
    update ${s}.job set state = 1, rank = coalesce(rank, ${s}.rank_of(_job.queue, _job.key)) where seq = _job.seq;
    m := m + 1;
  end loop;
  return greatest(n, m);
end $$;
`

export const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`

/**
 * The key of three locks: who takes turns shares the first, who claims under limits has the second. Whoever changes what waits shares the third
 * until his transaction ends, which may be somebody's own: who gets it alone need not look out for such jobs one by one.
 */
export const lock = (s: string): string => `hashtext('tasklayer ' || ${literal(s)})`
