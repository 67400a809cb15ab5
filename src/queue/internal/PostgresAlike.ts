/**
 * Claims where all that waits is under the same limits: of one queue, with the same limited tags and the same weight, apart from its keys. Then what
 * limits leave is a number for all and one for each line, and the jobs are the first of so many. What the lines have in common is known from the
 * turn before, and holds for as long as nobody changes what can be in the way.
 */
import { freeing, named, taking } from "./PostgresClaim.ts"

export const likening = (s: string): string => `
-- What these lines have in common, if they differ in nothing but their keys.
create function ${s}.alike(_heads ${s}.head[], out queue text, out weight double precision, out tags text[],
  out lines bigint[], out priorities double precision[], out ranks double precision[], out seqs double precision[], out keys text[])
language plpgsql stable as $$
#variable_conflict use_column
begin
  if (select not bool_and(h.limited) or min(h.queue) <> max(h.queue) or min(h.weight) <> max(h.weight) from unnest(_heads) h) then return; end if;
  select min(h.queue), min(h.weight), min(t.tags), array_agg(h.line), array_agg(h.priority), array_agg(h.rank), array_agg(h.seq::float8),
      array_agg(case when q.is_capped then h.key end)
    into queue, weight, tags, lines, priorities, ranks, seqs, keys
    from unnest(_heads) h left join ${s}.queue q on q.name = h.queue
      cross join lateral (select array(select l.tag from ${s}.tag_limit l where l.tag = any(h.tags) order by 1)) t(tags)
    having min(t.tags) = max(t.tags);
end $$;
`

/** Of `turn`, under the second lock; `_is_alike` is false after it where what each line may have is more than can be looked at. */
export const claimAlike = (s: string): string => `
      declare
        _room int;
        _slots int;
        _sum bigint;
        _mosts int[];
        _names text[];
        _weights double precision[];
        _tag_names text[];
        _tag_weights double precision[];
        _rated text[];
        _credits double precision[];
        _costs double precision[];
        _refills double precision[];
        _served double precision;
        _of int[];
        _rank double precision;
      begin
        with used as materialized (
          select name, sum(w) used, coalesce(sum(w) filter (where is_own), 0) own from (
            select u.name, u.w, x.id = _worker is_own from ${s}.worker x
              cross join lateral (select names, weights from ${s}.holding h where h.worker = x.id order by h.n desc limit 1) h
              cross join unnest(h.names, h.weights) u(name, w)
            union all select name, -w, true from ${named(s, "unnest(_lost)")}
          ) u group by name
        ), rate as materialized (
          select l.tag, ${s}.credit_of(e.r, b.credit[e.i], b.at, _now) credit, least(_alike_weight, (e.r->>'burst')::float8) * (e.r->>'per')::float8 cost,
            (e.r->>'count')::float8 count
          from ${s}.tag_limit l left join lateral (select credit, at from ${s}.bucket b where b.tag = l.tag order by n desc limit 1) b on true
            cross join jsonb_array_elements(l.rates) with ordinality e(r, i)
          where l.tag = any(_alike_tags) and l.enabled order by l.tag, e.i
        ), tag as materialized (
          select 't' || l.tag as name, coalesce(u.own, 0) own,
            case when l.paused_until > _now then 0 when l.enabled then floor((l."limit" - coalesce(u.used, 0)) / _alike_weight) end slots
          from ${s}.tag_limit l left join used u on u.name = 't' || l.tag where l.tag = any(_alike_tags)
        ), lane as (
          select v.i, coalesce(v.name, u.name) as name, coalesce(u.own, 0) own,
            greatest(0, least(_want, case when v.name is not null then floor((q.key_limit - coalesce(u.used, 0)) / _alike_weight) end))::int most
          from (
            select a.i, case when a.key is not null then 'k' || array[_alike_queue, a.key]::text end as name from unnest(_alike_keys) with ordinality a(key, i)
          ) v
            full join (select * from used where name <> all(select name from tag)) u on u.name = v.name
            left join (select case when is_capped then key_limit end key_limit from ${s}.queue where name = _alike_queue) q on true
        )
        select least(_want, t.slots), least(_want, t.slots, r.starts), l.mosts, l.sum, l.names, l.weights, t.names, t.weights, r.tags, r.credits, r.costs, r.counts,
            (select v.rank from ${s}.served v where v.queue = _alike_queue order by v.rank desc limit 1)
          into _slots, _room, _mosts, _sum, _names, _weights, _tag_names, _tag_weights, _rated, _credits, _costs, _refills, _served
          from (select case when min(slots) < 0 then 0 else min(slots) end slots, array_agg(name) as names, array_agg(own) weights from tag) t
            cross join (
              select case when min(credit) < 0 then 0 else min(floor(credit / cost)) end starts, array_agg(tag) tags,
                array_agg(credit) credits, array_agg(cost) costs, array_agg(count) counts from rate
            ) r
            cross join (
              select array_agg(most order by i) filter (where i is not null) mosts, sum(most) filter (where i is not null) sum,
                array_agg(name order by i) as names, array_agg(own order by i) weights from lane
            ) l;
        _is_alike := _sum <= 2 * _want;
        if _is_alike then
          if _room > 0 and _sum > 0 then
            select array_agg(p.at), array_agg(p.i), bool_or(p.unique_while = 1), max(p.rank) filter (where p.ranked) into _some, _of, _frees, _rank from (
              select f.at, l.i, f.unique_while, f.ranked, f.rank from unnest(_view_lines, _view_priorities, _view_ranks, _view_seqs, _mosts) with ordinality l(line, priority, rank, seq, most, i)
                cross join lateral (
                  select f.ctid at, f.priority, f.rank, f.seq, f.unique_while, f.ranked from ${s}.job f
                  where f.state = 1 and f.line = l.line and (f.priority, f.rank, f.seq) >= (l.priority, l.rank, l.seq::bigint)
                  order by f.line, f.priority, f.rank, f.seq limit least(l.most, _room) for update skip locked
                ) f order by f.priority, f.rank, f.seq limit _room
            ) p;
          end if;
          _got := coalesce(cardinality(_some), 0);
          if _got > 0 then
            if _frees then
              ${freeing(s)}
            end if;
            -- What serve() does, where how far it got is known already.
            if _rank > coalesce(_served, 0) then
              insert into ${s}.served(queue, rank) values (_alike_queue, _rank);
              delete from ${s}.served v where v.queue = _alike_queue and v.rank = _served;
            end if;
            ${taking(s, "j.ctid = any(_some)")}
            if _rated is not null then
              insert into ${s}.bucket(tag, at, credit)
                select tag, _now, array_agg(credit - _got * cost order by i) from unnest(_rated, _credits, _costs) with ordinality r(tag, credit, cost, i) group by tag;
            end if;
          end if;
          if _got < least(_want, _slots, _sum) then
            -- Were there more, the next could start when each rate lets it.
            _next := (select max(ceil(((_got + 1) * cost - credit) / count)) from unnest(_credits, _costs, _refills) r(credit, cost, count));
            if _next <= 0 then _next := null; end if;
          end if;
          if _got > 0 or _lost is not null then
            -- How many of each line.
            _of := case when _got = _sum then _mosts else array(
              select coalesce(n.n, 0) from generate_series(1, cardinality(_mosts)) i
                left join (select o.i, count(*) n from unnest(_of) o(i) group by o.i) n using (i) order by i
            ) end;
            insert into ${s}.holding(worker, names, weights)
              select _worker, coalesce(array_agg(name), '{}'), coalesce(array_agg(w), '{}') from (
                select name, own + _got * _alike_weight w from unnest(_tag_names, _tag_weights) t(name, own)
                union all select name, own + coalesce(n, 0) * _alike_weight from unnest(_names, _weights, _of) l(name, own, n) where name is not null
              ) x where w > 0;
            delete from ${s}.holding x where x.worker = _worker and x.n < (select max(n) from ${s}.holding x where x.worker = _worker);
            _lost := null;
          end if;
        end if;
      end;`
