/**
 * A worker's turn, as a function of the database: what has ended and what it claims, in one call.
 *
 * Two locks make limits exact. Every turn shares the first with the other turns, and whoever changes what may be in the way of jobs has it alone.
 * Who claims from lines with limits has the second: sees all that is active, and adds to it.
 */
import { claimAlike, likening, restore } from "./PostgresAlike.ts"
import { claim, claiming } from "./PostgresClaim.ts"
import { ending } from "./PostgresEnds.ts"
import { lock } from "./PostgresEnqueue.ts"
import { limiting } from "./PostgresLimits.ts"

const fits =
  `(_tags is null or tags && _tags) and (_names is null or name = any(_names)) and (_from is null or priority >= _from) and (_to is null or priority <= _to)`

/** Of a job `g`, that the worker still has it as `e` says. (The sums keep these from being looked up by.) */
const isOwn = "g.token = e.token and g.worker + 0 = _worker and g.state + 0 = 2"

const free = (s: string): string =>
  `${s}.job f where f.state = 1 and f.line = _line
          and (f.priority, f.rank, f.seq) >= (_head_priority, _head_rank, _head_seq) and ${fits}
        order by f.line, f.priority, f.rank, f.seq limit _most for update skip locked`

export const turnParams = `  _worker bigint, _turns double precision,
  _ok bigint[], _ok_id text[], _ok_token int[], _ok_result text[],
  _end bigint[], _end_id text[], _end_token int[], _end_kind text[], _end_after double precision[], _end_detail text[], _end_error text[],
  _holds text[], _want int, _queues text[], _tags text[], _from double precision, _to double precision, _names text[], _keep double precision[],
  _view_lines bigint[], _view_priorities double precision[], _view_ranks double precision[], _view_seqs double precision[],
  _alike_epoch int, _alike_queue text, _alike_tags text[], _alike_weight double precision, _alike_names text[]`

export const turnColumns =
  `  id text, token int, name text, payload text, queue text, tags text[], key text, priority double precision, weight double precision, once boolean,
  attempt int, errors text[], enqueued double precision, due double precision, trace text, rank double precision, seq double precision,
  refused text[], cancelled text[], next double precision, alive boolean,
  looked double precision, due_in double precision, lines text[], priorities double precision[], ranks double precision[], seqs double precision[],
  still boolean, alike_epoch int, alike_queue text, alike_tags text[], alike_weight double precision, alike_keys text[], alike_names text[]`

export const turning = (s: string): string => `
${ending(s)}
create type ${s}.head as (
  line bigint, priority double precision, rank double precision, seq bigint,
  queue text, tags text[], key text, weight double precision, limited boolean, epoch int
);

-- The first job of each line that has any: of all lines, or of those in view, from where they are known to begin. (Much here is in PL/pgSQL, as
-- what is in SQL is planned anew in every transaction before PostgreSQL 18.)
create function ${s}.heads(_lines bigint[], _priorities double precision[], _ranks double precision[], _seqs double precision[])
returns ${s}.head[] language plpgsql stable as $$
begin
  if _lines is not null then
    return (
      select array_agg((h.line, h.priority, h.rank, h.seq, h.queue, h.tags, h.key, h.weight, h.limited, h.epoch)::${s}.head order by h.priority, h.rank, h.seq)
      from unnest(_lines, _priorities, _ranks, _seqs) v(line, priority, rank, seq) cross join lateral (
        select j.line, j.priority, j.rank, j.seq, j.queue, j.tags, j.key, j.weight, j.limited, j.epoch from ${s}.job j
        where j.state = 1 and j.line = v.line and (j.priority, j.rank, j.seq) >= (v.priority, v.rank, v.seq::bigint)
        order by j.line, j.priority, j.rank, j.seq limit 1
      ) h
    );
  end if;
  return (
    with recursive h as (
      (select line, priority, rank, seq, queue, tags, key, weight, limited, epoch from ${s}.job where state = 1 order by line, priority, rank, seq limit 1)
      union all
      select n.* from h cross join lateral (
        select line, priority, rank, seq, queue, tags, key, weight, limited, epoch from ${s}.job
        where state = 1 and line > h.line order by line, priority, rank, seq limit 1
      ) n
    )
    select array_agg((h.line, h.priority, h.rank, h.seq, h.queue, h.tags, h.key, h.weight, h.limited, h.epoch)::${s}.head order by h.priority, h.rank, h.seq)
    from h
  );
end $$;

-- Puts up to so many jobs in their new line.
create function ${s}.reline(_line bigint, _most int) returns int language plpgsql as $$
declare n int;
begin
  with j as materialized (
    select seq, queue, tags, key, weight from ${s}.job where state = 1 and line = _line order by line, priority, rank, seq limit _most for update skip locked
  )
  update ${s}.job u set line = p.line, epoch = p.epoch, limited = p.limited
    from j cross join lateral ${s}.place(j.queue, j.tags, j.key, j.weight) p where u.seq = j.seq;
  get diagnostics n = row_count;
  return n;
end $$;

${limiting(s)}${claiming(s)}${likening(s)}
create function ${s}.turn(
${turnParams}
) returns table(
${turnColumns}
) language plpgsql set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
  _now double precision;
  _epoch int;
  w ${s}.worker;
  j ${s}.job;
  e record;
  c record;
  r int;
  _seqs bigint[];
  _refused text[];
  _next double precision;
  _n int;
  _got int := 0;
  _news boolean := false;
  _more boolean := false;
  _heads ${s}.head[];
  _open_heads ${s}.head[];
  _look boolean := _view_lines is null;
  _looked double precision;
  _began timestamptz;
  _head_priority double precision;
  _head_rank double precision;
  _head_seq bigint;
  _firsts ${s}.lane[];
  _lanes ${s}.lane[];
  _open ${s}.lane[];
  _resources ${s}.resource[];
  _free double precision[];
  _burst double precision[];
  _per double precision[];
  _used boolean[];
  _counts int[];
  _lines bigint[];
  _is_plain boolean;
  _is_paused boolean;
  _is_bounded boolean;
  _is_untidy boolean;
  _is_stale boolean;
  _is_limited boolean;
  _is_heard boolean;
  _picks tid[] := '{}';
  _held int[];
  _lost ${s}.demand[];
  _gone_lines bigint[];
  _gone_weights double precision[];
  _gained ${s}.demand[];
  _each int;
  _is_enough boolean;
  _is_alike boolean;
  _still boolean;
  _retry double precision;
  _some tid[];
  _frees boolean;
  _is_ranked boolean;
  _limited_of int[];
  _others_of int[];
  _is_cut boolean;
  _picked int := 0;
  _fits boolean;
  _line bigint;
  _most bigint;
  _m int;
  _edge_priority double precision;
  _edge_rank double precision;
  _edge_seq bigint;
  _at_priority double precision := '-infinity';
  _at_rank double precision := '-infinity';
  _at_seq bigint := 0;
begin
  perform pg_advisory_xact_lock_shared(${lock(s)}, 1);
  select * into w from ${s}.worker x where x.id = _worker for key share;
  -- The first after turns without an answer waits for those that are still under way; what comes after it is too late.
  if w.epoch < _turns then
    select * into w from ${s}.worker x where x.id = _worker for update;
    update ${s}.worker x set epoch = greatest(x.epoch, _turns) where x.id = _worker;
  end if;
  _now := ${s}.clock();
  if w.id is null or w.epoch > _turns or (w.expires <= _now and ${s}.lease_end(w.expires, w.lasts) <= _now) then
    return next;
    return;
  end if;

  -- Ends.
  if _ok is not null then
    if _ok_id is not null then
      _ok := array(select coalesce((select g.seq from ${s}.job g where g.id = u.id), u.seq) from unnest(_ok, _ok_id) with ordinality u(seq, id, o) order by o);
    end if;
    with e as materialized (select * from unnest(_ok, _ok_token, _ok_result) e(seq, token, result)),
    gone as (
      delete from ${s}.job g using e where g.seq = e.seq and ${isOwn} returning g.*, e.result
    ), kept as (
      insert into ${s}.ended(seq, priority, rank, due, enqueued, expires, claimed, ended, weight, token, attempt, crashes, max_crashes, state, once, name, queue, tags, key, payload, id, trace, errors, result)
        select seq, priority, rank, due, enqueued, expires, claimed, _now, weight, token, attempt, crashes, max_crashes, 3, once, name, queue, tags, key, payload, id, trace, errors, result
        from gone where _keep[1] > 0
    ), freed as (
      delete from ${s}.taken t using gone g where g.unique_key is not null and t.key = g.unique_key and t.job = g.seq and t.kind < 3
    )
    select array_agg(seq), array_agg(line) filter (where limited), array_agg(weight) filter (where limited),
      (select array_agg((d.line, d.queue, d.tags, d.key, d.w)::${s}.demand) from (
        -- Jobs of one line are under the same limits. Under which, is known of the lines of the turn before.
        select line, min(queue) queue, min(tags) tags, min(key) as key, sum(weight) w from gone
        where limited and (_alike_epoch is null or line not in (select unnest(_view_lines))) group by line
      ) d)
      into _seqs, _gone_lines, _gone_weights, _lost from gone;
    _news := _gone_lines is not null;
    if coalesce(cardinality(_seqs), 0) < cardinality(_ok) then
      _refused := array(select ${s}.id_of(u.id, u.seq) from unnest(_ok, _ok_id) u(seq, id) where _seqs is null or u.seq <> all(_seqs));
    end if;
  end if;
  if _end is not null then
    for e in select * from unnest(_end, _end_id, _end_token, _end_kind, _end_after, _end_detail, _end_error) with ordinality u(seq, id, token, kind, after, detail, error, o) order by o loop
      -- What it has no more it does not touch: it may wait again, and be another's next.
      if e.id is not null then
        select * into j from ${s}.job g where g.id = e.id and ${isOwn} for update;
      else
        select * into j from ${s}.job g where g.seq = e.seq and ${isOwn} for update;
      end if;
      if j.seq is null then
        _refused := _refused || ${s}.id_of(e.id, e.seq);
        continue;
      end if;
      if j.limited then
        _lost := _lost || (j.line, j.queue, j.tags, j.key, j.weight)::${s}.demand;
        _news := true;
      end if;
      if e.error is not null then
        j.errors := (j.errors || e.error)[greatest(1, cardinality(j.errors) - 98):];
      end if;
      if e.kind = 'Returned' then
        perform ${s}.give_back(j, _now, _keep);
        _news := true;
        _look := true;
      elsif e.kind = 'Retry' then
        perform ${s}.put_back(j, e.after, _now, _keep);
        _news := _news or e.after <= 0;
        _look := _look or e.after <= 0;
        if e.after > 0 then _retry := least(_retry, e.after); end if;
      else
        perform ${s}.bury(j, case e.kind when 'Succeeded' then 3 when 'Dead' then 4 else 5 end, e.detail, _now, _keep);
      end if;
    end loop;
  end if;
  if _holds is not null then
    for j in select * from ${s}.job g where g.worker = _worker and g.state = 2 and ${s}.id_of(g.id, g.seq) <> all(_holds) loop
      if j.limited then _lost := _lost || (j.line, j.queue, j.tags, j.key, j.weight)::${s}.demand; end if;
      perform ${s}.give_back(j, _now, _keep);
      _news := true;
      _look := true;
    end loop;
  end if;

  -- Sweep. (What there may be to do is asked for in one statement: each costs as much as the rest of a small turn.)
  _began := clock_timestamp();
  select c.epoch, q.are_keyed is not true and not exists(select from ${s}.taken), coalesce(q.are_paused, false), coalesce(q.are_bounded, false),
      exists(select from ${s}.worker x where x.expires <= _now) or (_look and (
        exists(select from ${s}.job g where g.state = 0 and g.due <= _now)
        or exists(select from ${s}.job g where g.state < 2 and g.attempt = 0 and g.expires is not null and g.expires <= _now)))
    into _epoch, _is_plain, _is_paused, _is_bounded, _is_untidy
    from ${s}.config c cross join (
      select bool_or(keyed) are_keyed, bool_or(paused) are_paused, bool_or(is_bounded and max_queued is not null) are_bounded from ${s}.queue
    ) q;
  if _is_untidy then
    select _news or t.changed, t.more, _look or t.leases > 0 into _news, _more, _look from ${s}.tidy(_now, _keep, _look) t;
  end if;

  -- Claim.
  -- All of what follows but the claim is known, where what waits is alike and nothing has changed.
  _still := _want > 0 and _alike_epoch is not distinct from _epoch and not _look and not _is_paused and (_queues is null or _alike_queue = any(_queues))
    and _tags is null and _names is null and _from is null and _to is null;
  if not _still then${restore(s)}
  end if;
  if _want > 0 then
    _is_alike := _still;
    for i in 1..10 loop
      exit when _still;
      _heads := case when _look then ${s}.heads(null, null, null, null) else ${s}.heads(_view_lines, _view_priorities, _view_ranks, _view_seqs) end;
      _n := 0;
      _open_heads := null;
      _is_limited := false;
      exit when _heads is null;
      if not _is_paused and cardinality(_heads) = 1 then
        -- Most often there is one line. (A statement costs more than the expressions.)
        _is_stale := (_heads[1]).epoch <> _epoch;
        _open_heads := case when not _is_stale and (_queues is null or (_heads[1]).queue = any(_queues)) then _heads end;
        _is_limited := _open_heads is not null and (_heads[1]).limited;
        lines := array[(_heads[1]).line::text];
        priorities := array[(_heads[1]).priority];
        ranks := array[(_heads[1]).rank];
        seqs := array[(_heads[1]).seq];
      else
        select array_agg(h order by h.priority, h.rank, h.seq) filter (where o.is_open), coalesce(bool_or(h.limited) filter (where o.is_open), false), bool_or(h.epoch <> _epoch),
            array_agg(h.line::text), array_agg(h.priority), array_agg(h.rank), array_agg(h.seq::float8)
          into _open_heads, _is_limited, _is_stale, lines, priorities, ranks, seqs
          from unnest(_heads) h left join ${s}.queue q on q.name = h.queue
            cross join lateral (select h.epoch = _epoch and q.paused is not true and (_queues is null or h.queue = any(_queues)) is_open) o;
      end if;
      exit when not _is_stale;
      for c in select h.line from unnest(_heads) h where h.epoch <> _epoch loop
        _n := _n + ${s}.reline(c.line, 2000);
        exit when _n >= 2000;
      end loop;
      exit when _n = 0;
    end loop;
    if _n > 0 then _more := true; end if;
    if _look and _n = 0 then _looked := extract(epoch from clock_timestamp() - _began) * 1000; end if;
    if cardinality(lines) > 100 then
      lines := null;
      priorities := null;
      ranks := null;
      seqs := null;
    end if;
    if _is_limited and not _is_stale and lines is not null and not _is_paused and _tags is null and _names is null and _from is null and _to is null then
      select * into _alike_queue, _alike_weight, _alike_tags, _view_lines, _view_priorities, _view_ranks, _view_seqs, alike_keys, _alike_names from ${s}.alike(_heads);
      _is_alike := _alike_queue is not null and (_queues is null or _alike_queue = any(_queues));
    end if;
    _heads := coalesce(_open_heads, '{}');
    if _is_limited or _still then
      perform pg_advisory_xact_lock(${lock(s)}, 2);
      _now := ${s}.clock();
      select * into w from ${s}.worker x where x.id = _worker;
      if w.expires <= _now and ${s}.lease_end(w.expires, w.lasts) <= _now then raise exception using errcode = 'TL005'; end if;
    end if;
    if _is_alike then
${claimAlike(s)}
    end if;
    if _is_alike then
      _heads := '{}';
      if not _still then
        lines := _view_lines::text[];
        priorities := _view_priorities;
        ranks := _view_ranks;
        seqs := _view_seqs;
        alike_epoch := _epoch;
        alike_queue := _alike_queue;
        alike_tags := _alike_tags;
        alike_weight := _alike_weight;
        alike_names := _alike_names;
      end if;
    elsif _still then
      _still := false;
      _is_limited := true;${restore(s)}
      _heads := coalesce(${s}.heads(_view_lines, _view_priorities, _view_ranks, _view_seqs), '{}');
      select array_agg(h.line::text), array_agg(h.priority), array_agg(h.rank), array_agg(h.seq::float8) into lines, priorities, ranks, seqs from unnest(_heads) h;
    end if;
    if _is_limited and not _is_alike then
      -- How many lines and limits there are decides how they are best looked at.
      perform set_config('plan_cache_mode', 'auto', true);
      _resources := coalesce(${s}.resources(_heads, _lost, _now), '{}');
    end if;
    if _resources is null and cardinality(_heads) = 1 then
      _lines := array[(_heads[1]).line];
      _firsts := array[row((_heads[1]).line, (_heads[1]).priority, (_heads[1]).rank, (_heads[1]).seq, false, 1, '{}'::int[], null, true)::${s}.lane];
      _counts := array[_want];
    elsif cardinality(_heads) > 0 then
      _lanes := ${s}.lanes(_heads, _resources);
      _open := array(select l from unnest(_lanes) l where l.is_open);
      _free := array(select x.free from unnest(_resources) with ordinality x order by x.ordinality);
      _burst := array(select x.burst from unnest(_resources) with ordinality x order by x.ordinality);
      _per := array(select x.per from unnest(_resources) with ordinality x order by x.ordinality);
      _used := array_fill(false, array[cardinality(_free)]);
      _counts := array_fill(0, array[cardinality(_open)]);
      _held := _counts;
      _seqs := '{}';
      select coalesce(sum(least(_want, l.most)), 0) <= 2 * _want and not exists(
          select from (
            select n.i, sum(least(_want, l.most) * least(l.weight, _burst[n.i]) * _per[n.i]) cost from unnest(_open) l cross join unnest(l.needs) n(i) group by n.i
          ) x where x.cost > _free[x.i])
        into _is_enough from unnest(_open) l;
      if _is_enough then
        -- No limit runs out before each line has had its most: nothing has to be counted one by one.
        select coalesce(array_agg(p.at) filter (where p.limited), '{}'), coalesce(array_agg(p.seq) filter (where p.limited), '{}'), count(*),
            array_agg(p.i) filter (where p.limited), array_agg(p.i) filter (where not p.limited)
          into _picks, _seqs, _picked, _limited_of, _others_of
          from (
            select l.ordinality::int i, l.limited, f.at, f.seq from unnest(_open) with ordinality l cross join lateral (
              select f.ctid at, f.seq, f.priority, f.rank from ${s}.job f
              where f.state = 1 and f.line = l.line and (f.priority, f.rank, f.seq) >= (l.priority, l.rank, l.seq) and ${fits}
              order by f.line, f.priority, f.rank, f.seq limit least(_want, l.most)
            ) f order by f.priority, f.rank, f.seq limit _want
          ) p;
        foreach r in array coalesce(_limited_of, '{}') loop
          _held[r] := _held[r] + 1;
        end loop;
        foreach r in array coalesce(_others_of, '{}') loop
          _counts[r] := _counts[r] + 1;
        end loop;
        for i in 1..cardinality(_open) loop
          continue when _held[i] = 0;
          foreach r in array (_open[i]).needs loop
            _free[r] := _free[r] - _held[i] * least((_open[i]).weight, _burst[r]) * _per[r];
            _used[r] := true;
          end loop;
        end loop;
      end if;
      -- Some of each of the first lines, in one order, until what was not looked at may come before: the rest of one of them, or the head of the
      -- next line. Then more, from there on.
      _m := least(64, cardinality(_open));
      while not _is_enough and _picked < _want and _m > 0 loop
        _each := least(_want - _picked, 4 + 2 * (_want - _picked) / _m);
        _is_cut := false;
        _edge_priority := (_open[_m + 1]).priority;
        _edge_rank := (_open[_m + 1]).rank;
        _edge_seq := (_open[_m + 1]).seq;
        for c in
          select l.ordinality::int i, l.limited, l.weight, l.needs, f.at, f.seq, f.priority, f.rank, f.n
          from unnest(_open[1:_m]) with ordinality l cross join lateral (
            select case when i then _at_priority else l.priority end priority, case when i then _at_rank else l.rank end rank,
              case when i then _at_seq else l.seq end seq
            from (select (l.priority, l.rank, l.seq) <= (_at_priority, _at_rank, _at_seq)) is_behind(i)
          ) b cross join lateral (
            select f.ctid at, f.seq, f.priority, f.rank, row_number() over (order by f.line, f.priority, f.rank, f.seq) n from ${s}.job f
            where f.state = 1 and f.line = l.line and (f.priority, f.rank, f.seq) >= (b.priority, b.rank, b.seq) and f.seq <> _at_seq and ${fits}
            order by f.line, f.priority, f.rank, f.seq limit least(_each, l.most)
          ) f order by f.priority, f.rank, f.seq
        loop
          exit when _is_cut or _picked = _want or (c.priority, c.rank, c.seq) >= (_edge_priority, _edge_rank, _edge_seq);
          _is_cut := c.n = _each;
          _at_priority := c.priority;
          _at_rank := c.rank;
          _at_seq := c.seq;
          if c.limited then
            _fits := true;
            foreach r in array c.needs loop
              if _free[r] < least(c.weight, _burst[r]) * _per[r] then
                _fits := false;
                exit;
              end if;
            end loop;
            continue when not _fits;
            foreach r in array c.needs loop
              _free[r] := _free[r] - least(c.weight, _burst[r]) * _per[r];
              _used[r] := true;
            end loop;
            _picks := _picks || c.at;
            _seqs := _seqs || c.seq;
            _held[c.i] := _held[c.i] + 1;
          else
            _counts[c.i] := _counts[c.i] + 1;
          end if;
          _picked := _picked + 1;
        end loop;
        continue when _is_cut;
        exit when _m = cardinality(_open);
        _m := least(_m * 4, cardinality(_open));
      end loop;
      _lines := array(select l.line from unnest(_open) with ordinality l order by l.ordinality);
      _firsts := _open;
      insert into ${s}.bucket(tag, at, credit)
        select x.name, _now, array_agg(_free[x.i] order by x.i) from (select *, ordinality i from unnest(_resources) with ordinality) x
        where x.kind = 1 group by x.name having bool_or(_used[x.i]);
    end if;
    if _picks <> '{}' then${
  claim(s, `${s}.job f where f.ctid = any(_picks) and f.state + 0 = 1 for update skip locked`)
}
      if _n = cardinality(_picks) then
        _gained := array(select (h.line, h.queue, h.tags, h.key, h.weight * x.n)::${s}.demand
          from unnest(_open) with ordinality l join unnest(_held) with ordinality x(n, i) on x.i = l.ordinality and x.n > 0
            join unnest(_heads) h on h.line = l.line);
      else
        -- Some were cancelled or replaced meanwhile, or are about to be: nobody waits for whose transaction that is.
        _gained := array(select (g.line, g.queue, g.tags, g.key, g.weight)::${s}.demand from ${s}.job g where g.seq = any(_seqs) and g.worker + 0 = _worker and g.state + 0 = 2);
      end if;
    end if;
    for i in 1..coalesce(cardinality(_lines), 0) loop
      continue when _counts[i] = 0;
      _line := _lines[i];
      _head_priority := (_firsts[i]).priority;
      _head_rank := (_firsts[i]).rank;
      _head_seq := (_firsts[i]).seq;
      _most := _counts[i];${claim(s, free(s))}
    end loop;
    -- What others had their hands on is made up for by what comes next.
    if _got < _picked then
      for i in 1..cardinality(_lines) loop
        continue when _counts[i] = 0;
        exit when _got >= _picked;
        _line := _lines[i];
      _head_priority := (_firsts[i]).priority;
      _head_rank := (_firsts[i]).rank;
      _head_seq := (_firsts[i]).seq;
        _most := _picked - _got;${claim(s, free(s))}
      end loop;
    end if;
    if _resources is not null and _got < _want then _next := ${s}.ready_in(_lanes, _resources, _free); end if;
  end if;

  if _lost is not null or _gained is not null then perform ${s}.hold(_worker, _lost, _gained); end if;

  if _resources is not null then perform set_config('plan_cache_mode', 'force_generic_plan', true); end if;
  if _more or (_want > 0 and _got >= _want) then _next := 0; end if;
  -- Where it did not look the store knows when it has to.
  select array(select ${s}.id_of(g.id, g.seq) from ${s}.job g where g.worker = _worker and g.state = 2 and g.cancel), d.due - _now,
      case when _next = 0 or (_look and _want = 0 and exists(select from ${s}.job g where g.state = 1)) then 0
        else least(
          _next,
          d.due - _now,
          (select l.paused_until from ${s}.tag_limit l where l.paused_until > _now order by l.paused_until limit 1) - _now,
          (select min(case when x.expires > _now then x.expires else ${s}.lease_end(x.expires, x.lasts) end) from ${s}.worker x where x.id <> _worker) - _now
        ) end
    into cancelled, due_in, next
    from (select case when _look then least(
      (select g.due from ${s}.job g where g.state = 0 order by g.due limit 1),
      (select g.expires from ${s}.job g where g.state < 2 and g.attempt = 0 and g.expires is not null order by g.expires limit 1)
    ) end) d(due);
  due_in := least(due_in, _retry);
  next := case when next < 'infinity' then greatest(next, 0) end;
  -- What became claimable and is not claimed here: this turn did not want it, or did not look for it. (What nobody needs to know is not asked for.)
  _is_heard := _is_bounded and _got > 0;
  if _news and not _is_heard and (next = 0 or _want = 0 or _queues is not null or _tags is not null or _names is not null or _from is not null or _to is not null) then
    _is_heard := (select count(*) from ${s}.worker) > 1;
  end if;
  if _is_heard then
    perform ${s}.notify('');
  end if;
  -- What was put back without a look for it may be anywhere.
  still := case when _still then true when _look and _want = 0 then false end;
  refused := _refused;
  alive := true;
  looked := _looked;
  return next;
end $$;
`
