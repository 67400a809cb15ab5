/**
 * Limits, as functions of the database: what they leave, from what live workers hold and never from a count that is kept, and how they are changed.
 */
import { lock } from "./PostgresEnqueue.ts"

/** What jobs with a key are counted as by it, and the key of such a name. */
export const keyName = (queue: string, key: string): string => `'k' || array[${queue}, ${key}]::text`
export const keyOf = (name: string): string => `(substr(${name}, 2)::text[])[2]`

/** Of demands, what they are counted against, by name. */
export const named = (s: string, demands: string): string =>
  `(
          select 't' || l.tag as name, d.weight w from ${demands} d cross join unnest(d.tags) t(tag) join ${s}.tag_limit l on l.tag = t.tag
          union all
          select ${keyName("d.queue", "d.key")}, d.weight from ${demands} d
            where d.key is not null and d.queue in (select q.name from ${s}.queue q where q.is_capped)
        ) named`

export const limiting = (s: string): string => `
-- The slots of a tag (kind 0), one of its rates (1), its pause (2), the slots of a key in its queue (3). A weight costs its least with burst, times
-- per: rates count in credit, so that whole numbers stay whole.
create type ${s}.resource as (
  name text, kind int, free double precision, burst double precision, per double precision, count double precision
);
-- What jobs of a line have, together.
create type ${s}.demand as (line bigint, queue text, tags text[], key text, weight double precision);
-- A line to claim from: which resources it needs, by index, and how many of it can be had at most.
create type ${s}.lane as (
  line bigint, priority double precision, rank double precision, seq bigint, limited boolean, weight double precision,
  needs int[], most bigint, is_open boolean
);

-- What a rate has left.
create function ${s}.credit_of(_rate jsonb, _credit double precision, _at double precision, _now double precision)
returns double precision language sql immutable as $$
  select coalesce(
    least((_rate->>'burst')::float8 * (_rate->>'per')::float8, _credit + greatest(0, _now - _at) * (_rate->>'count')::float8),
    (_rate->>'burst')::float8 * (_rate->>'per')::float8)
$$;

-- What a worker has under limits, by the name of what it is of: changed with each of its turns, and gone with its lease.
create function ${s}.hold(_worker bigint, _lost ${s}.demand[], _gained ${s}.demand[]) returns void language plpgsql as $$
declare
  h ${s}.holding;
begin
  select * into h from ${s}.holding x where x.worker = _worker order by x.n desc limit 1;
  insert into ${s}.holding(worker, names, weights)
    select _worker, coalesce(array_agg(name), '{}'), coalesce(array_agg(w), '{}') from (
      select name, sum(w) w from (
        select name, w from unnest(h.names, h.weights) u(name, w)
        union all select name, -w from ${named(s, "unnest(_lost)")}
        union all select name, w from ${named(s, "unnest(_gained)")}
      ) u group by name having sum(w) > 0
    ) u;
  delete from ${s}.holding x where x.worker = _worker and x.n = h.n;
end $$;

-- What may be in the way of these lines, and what it has left when all but what was just lost is held: under the second lock that is exact.
create function ${s}.resources(_heads ${s}.head[], _lost ${s}.demand[], _now double precision) returns ${s}.resource[] language plpgsql stable as $$
begin return (
  with h as materialized (select * from unnest(_heads) where limited),
  used as materialized (
    select name, sum(w) w from (
      select u.name, u.w from ${s}.worker x
        cross join lateral (select names, weights from ${s}.holding h where h.worker = x.id order by h.n desc limit 1) h
        cross join unnest(h.names, h.weights) u(name, w)
      union all select name, -w from ${named(s, "unnest(_lost)")}
    ) u group by name
  ),
  l as (
    select l.*, coalesce(used.w, 0) used, b.credit, b.at
    from (select distinct t.tag from h cross join unnest(h.tags) t(tag)) t
      join ${s}.tag_limit l on l.tag = t.tag left join used on used.name = 't' || l.tag
      left join lateral (select credit, at from ${s}.bucket b where b.tag = l.tag order by n desc limit 1) b on true
  )
  select array_agg((name, kind, free, burst, per, count)::${s}.resource order by kind, name, i) from (
    select tag as name, 0 kind, "limit" - used free, 'infinity'::float8 burst, 1::float8 per, null::float8 count, 0 i
      from l where enabled and "limit" is not null
    union all
    select tag, 1, ${s}.credit_of(r, credit[i], at, _now), (r->>'burst')::float8, (r->>'per')::float8, (r->>'count')::float8, i
      from l cross join jsonb_array_elements(rates) with ordinality e(r, i) where enabled
    union all
    select tag, 2, '-infinity', 'infinity', 1, null, 0 from l where paused_until > _now
    union all
    select array[k.queue, k.key]::text, 3, q.key_limit - coalesce(used.w, 0), 'infinity', 1, null, 0
      from (select distinct queue, key from h where key is not null) k
        join ${s}.queue q on q.name = k.queue and q.is_capped and q.key_limit is not null
        left join used on used.name = ${keyName("k.queue", "k.key")}
  ) x
); end $$;

-- In the order of their heads.
create function ${s}.lanes(_heads ${s}.head[], _resources ${s}.resource[]) returns ${s}.lane[] language plpgsql immutable set enable_nestloop = off as $$
begin return (
  with h as materialized (select * from unnest(_heads) with ordinality),
  x as materialized (select *, ordinality::int i from unnest(_resources) with ordinality),
  n as materialized (
    select d.line, array_agg(x.i) needs, floor(min(case when x.kind in (0, 3) then x.free / d.weight end))::bigint most,
      bool_and(x.free >= least(d.weight, x.burst) * x.per) is_open
    from (
      select h.line, h.weight, t.tag as name, false of_key from h cross join unnest(h.tags) t(tag) where h.limited
      union all
      select h.line, h.weight, array[h.queue, h.key]::text, true from h where h.limited and h.key is not null
    ) d join x on x.name = d.name and (x.kind = 3) = d.of_key
    group by d.line
  )
  select array_agg((h.line, h.priority, h.rank, h.seq, h.limited, h.weight, coalesce(n.needs, '{}'), n.most, coalesce(n.is_open, true))::${s}.lane
    order by h.ordinality)
  from h left join n on n.line = h.line
); end $$;

-- In how many milliseconds rates let something of these lines start.
create function ${s}.ready_in(_lanes ${s}.lane[], _resources ${s}.resource[], _free double precision[])
returns double precision language plpgsql immutable set enable_nestloop = off as $$
begin return (
  select min(ready) from (
    select max(case when x.kind = 1 then ceil((least(l.weight, x.burst) * x.per - x.free) / x.count) else 0 end) ready,
      bool_or(x.kind <> 1 and x.free < l.weight) stuck
    from unnest(_lanes) l cross join unnest(l.needs) n(i)
      join (select r.kind, r.burst, r.per, r.count, f.free, r.i
        from (select *, ordinality i from unnest(_resources) with ordinality) r
          join (select free, i from unnest(_free) with ordinality f(free, i)) f on f.i = r.i) x on x.i = n.i
    group by l.line
  ) t where not stuck and ready > 0
); end $$;

-- Alone with the turns: none sees half of a change.
create function ${s}.alone() returns void language sql as $$
  select pg_advisory_xact_lock(${lock(s)}, 1)
$$;

-- What can be in the way has changed: new lines for all; what is active is put in its own at once, so that it is counted.
create function ${s}.new_epoch() returns void language plpgsql as $$
begin
  update ${s}.config set epoch = epoch + 1;
  update ${s}.job u set line = p.line, epoch = p.epoch, limited = p.limited
    from ${s}.job j cross join lateral ${s}.place(j.queue, j.tags, j.key, j.weight) p where j.state = 2 and u.seq = j.seq;
  delete from ${s}.holding;
  insert into ${s}.holding(worker, names, weights)
    select worker, array_agg(name), array_agg(w) from (
      select j.worker, named.name, sum(named.w) w from ${s}.job j cross join lateral ${
  named(s, "(select j.queue, j.tags, j.key, j.weight)")
}
      where j.state = 2 group by j.worker, named.name
    ) h group by worker;
end $$;

create function ${s}.set_limit(_tag text, _limit double precision, _rates jsonb, _enabled boolean, _if_absent boolean) returns void language plpgsql as $$
declare
  l ${s}.tag_limit;
  b ${s}.bucket;
  _now double precision;
begin
  perform ${s}.alone();
  _now := ${s}.clock();
  select * into l from ${s}.tag_limit where tag = _tag;
  if l.declared and _if_absent then return; end if;
  select * into b from ${s}.bucket where tag = _tag order by n desc limit 1;
  delete from ${s}.bucket where tag = _tag;
  if l.declared and _rates <> '[]' then
    -- A rate over the same time in the same place goes on with what it had.
    insert into ${s}.bucket(tag, at, credit)
      select _tag, _now, array_agg(case
          when (l.rates->(i - 1)::int->>'per')::float8 = (r->>'per')::float8
          then least(${s}.credit_of(l.rates->(i - 1)::int, b.credit[i], b.at, _now), (r->>'burst')::float8 * (r->>'per')::float8)
          else (r->>'burst')::float8 * (r->>'per')::float8 end order by i)
      from jsonb_array_elements(_rates) with ordinality e(r, i);
  end if;
  insert into ${s}.tag_limit(tag, declared, enabled, "limit", rates) values (_tag, true, _enabled, _limit, _rates)
    on conflict (tag) do update set declared = true, enabled = excluded.enabled, "limit" = excluded."limit", rates = excluded.rates;
  if l.tag is null then perform ${s}.new_epoch(); end if;
  perform ${s}.notify('');
end $$;

create function ${s}.pause_limit(_tag text, _millis double precision) returns void language plpgsql as $$
declare
  _until double precision;
  _is_new boolean;
begin
  perform ${s}.alone();
  _until := case when _millis > 0 then ${s}.clock() + _millis end;
  _is_new := not exists(select from ${s}.tag_limit where tag = _tag);
  if _is_new and _until is null then return; end if;
  insert into ${s}.tag_limit(tag, paused_until) values (_tag, _until) on conflict (tag) do update set paused_until = excluded.paused_until;
  if _is_new then perform ${s}.new_epoch(); end if;
  perform ${s}.notify('');
end $$;

create function ${s}.remove_limit(_tag text) returns boolean language plpgsql as $$
declare
  l ${s}.tag_limit;
begin
  perform ${s}.alone();
  select * into l from ${s}.tag_limit where tag = _tag;
  if l.declared is not true then return false; end if;
  delete from ${s}.bucket where tag = _tag;
  if l.paused_until > ${s}.clock() then
    update ${s}.tag_limit set declared = false, enabled = true, "limit" = null, rates = '[]' where tag = _tag;
  else
    delete from ${s}.tag_limit where tag = _tag;
    perform ${s}.new_epoch();
  end if;
  perform ${s}.notify('');
  return true;
end $$;

-- Of bounds and caps, infinity is none; null leaves as it is.
create function ${s}.set_queue(_name text, _paused boolean, _max_queued double precision, _key_limit double precision, _if_absent boolean) returns void language plpgsql as $$
declare
  q ${s}.queue;
begin
  -- Whoever has the row in a transaction of his own is waited for before the turns are held up.
  insert into ${s}.queue(name) values (_name) on conflict do nothing;
  select * into q from ${s}.queue where name = _name for update;
  perform ${s}.alone();
  update ${s}.queue set
    paused = case when _if_absent then coalesce(q.paused, _paused) else coalesce(_paused, q.paused) end,
    max_queued = case when _max_queued is null or (_if_absent and q.is_bounded) then q.max_queued else nullif(_max_queued, 'infinity') end,
    is_bounded = q.is_bounded or _max_queued is not null,
    key_limit = case when _key_limit is null or (_if_absent and q.is_capped) then q.key_limit else nullif(_key_limit, 'infinity') end,
    is_capped = q.is_capped or _key_limit is not null
    where name = _name;
  if not q.is_bounded and _max_queued is not null then
    update ${s}.job set bounded = true where queue = _name and not bounded;
  end if;
  if not q.is_capped and _key_limit is not null then perform ${s}.new_epoch(); end if;
  perform ${s}.notify('');
end $$;
`
