/**
 * Claims where all that waits is under the same limits: of one queue, with the same limited tags and the same weight, apart from its keys. Then what
 * limits leave is a number for all and one for each line, and the jobs are the first of so many. What the lines have in common is known from the
 * turn before, and holds for as long as nobody changes what can be in the way. What the worker has is written in one order: limits first, then lines,
 * so that while it is alone what has ended and what begins are added to that by their place in it.
 */
import { freeing, taking } from "./PostgresClaim.ts"
import { lock } from "./PostgresEnqueue.ts"
import { keyName, keyOf, named } from "./PostgresLimits.ts"

export const likening = (s: string): string => `
-- What these lines have in common, if they differ in nothing but their keys.
create function ${s}.alike(_heads ${s}.head[], out queue text, out weight double precision, out tags text[],
  out lines bigint[], out priorities double precision[], out ranks double precision[], out seqs double precision[], out keys text[],
  -- What the jobs of a line are counted as by their key: nothing, where that is not limited.
  out names text[])
language plpgsql stable as $$
#variable_conflict use_column
begin
  if (select not bool_and(h.limited) or min(h.queue) <> max(h.queue) or min(h.weight) <> max(h.weight) from unnest(_heads) h) then return; end if;
  select min(h.queue), min(h.weight), min(t.tags), array_agg(h.line), array_agg(h.priority), array_agg(h.rank), array_agg(h.seq::float8),
      array_agg(case when q.is_capped then h.key end),
      array_agg(case when q.is_capped and h.key is not null then ${keyName("h.queue", "h.key")} else '' end)
    into queue, weight, tags, lines, priorities, ranks, seqs, keys, names
    from unnest(_heads) h left join ${s}.queue q on q.name = h.queue
      cross join lateral (select array(select l.tag from ${s}.tag_limit l where l.tag = any(h.tags) order by 1)) t(tags)
    having min(t.tags) = max(t.tags);
end $$;
`

/** Of each line as many as it may have. */
const pick = (s: string, { locking = "", ordering = "" }): string => `
              select array_agg(p.at), array_agg(p.i), bool_or(p.unique_while = 1), max(p.rank) filter (where p.ranked) into _some, _of, _frees, _rank from (
                select f.at, l.i, f.unique_while, f.ranked, f.rank
                from unnest(_view_lines, _view_priorities, _view_ranks, _view_seqs, _mosts) with ordinality l(line, priority, rank, seq, most, i)
                  cross join lateral (
                    select f.ctid at, f.priority, f.rank, f.seq, f.unique_while, f.ranked from ${s}.job f
                    where f.state = 1 and f.line = l.line and (f.priority, f.rank, f.seq) >= (l.priority, l.rank, l.seq::bigint)
                    order by f.line, f.priority, f.rank, f.seq limit least(l.most, _room) ${locking}
                  ) f ${ordering}
              ) p;`

const inOrder = "order by f.priority, f.rank, f.seq limit _room"

/** Of `turn`, under the second lock; `_is_alike` is false after it where what each line may have is more than can be looked at. */
export const claimAlike = (s: string): string => `
      declare
        _room int;
        _slots int;
        _sum bigint;
        _k int := cardinality(_alike_tags);
        _m int := _k + cardinality(_view_lines);
        -- Of tags, of lines, of whatever else it has: what this worker has, and what all have. Of each line how many more may be had.
        _names text[] := array(select 't' || t.tag from unnest(_alike_tags) with ordinality t(tag, i) order by t.i) || _alike_names;
        _own double precision[];
        _used double precision[];
        _held double precision[];
        _written bigint;
        _back double precision;
        _mosts int[];
        _rated text[];
        _credits double precision[];
        _costs double precision[];
        _refills double precision[];
        _served double precision;
        _of int[];
        _rank double precision;
        -- Nobody has his hands on what waits, or can get them on it.
        _is_mine boolean;
      begin
        -- Alone, and with jobs of no other lines, what it wrote last is all there is.
        select h.n, h.weights into _written, _own
          from (select * from ${s}.holding h where h.worker = _worker order by h.n desc limit 1) h
          where h.names = _names and not exists(select from ${s}.worker x where x.id <> _worker)
            and not exists(select from unnest(_lost) d where d.line <> all(_view_lines));
        _used := _own;
        if _own is null then
          with used as (
            select name, sum(w) used, sum(w) filter (where is_own) own from (
              select u.name, u.w, x.id = _worker is_own from ${s}.worker x
                cross join lateral (select names, weights from ${s}.holding h where h.worker = x.id order by h.n desc limit 1) h
                cross join unnest(h.names, h.weights) u(name, w)
              union all select name, -w, true from ${
  named(s, "(select * from unnest(_lost) d where d.line <> all(_view_lines))")
}
            ) u group by name
          )
          select (select max(h.n) from ${s}.holding h where h.worker = _worker), array_agg(name order by i, name), array_agg(own order by i, name),
              array_agg(used order by i, name)
            into _written, _names, _own, _used
            from (
              select n.i, coalesce(n.name, u.name) as name, coalesce(u.own, 0) own, coalesce(u.used, 0) used
              from unnest(_names) with ordinality n(name, i) full join used u on u.name = n.name where n.i is not null or u.own > 0
            ) x;
        end if;
        select array_agg(l.most order by l.i), sum(l.most), coalesce(sum(l.lost), 0), array_agg(l.own order by l.i)
          into _mosts, _sum, _back, _held
          from (
            select v.i, d.w lost, v.own - coalesce(d.w, 0) own,
              greatest(0, least(_want, case when v.name <> '' then floor((q.key_limit - v.used + coalesce(d.w, 0)) / _alike_weight) end))::int most
            from unnest(_view_lines, _names[_k + 1:_m], _own[_k + 1:_m], _used[_k + 1:_m]) with ordinality v(line, name, own, used, i)
              left join (
                select line, sum(w) w from (select * from unnest(_gone_lines, _gone_weights) g(line, w) union all select line, weight from unnest(_lost)) g group by line
              ) d on d.line = v.line
              left join (select case when is_capped then key_limit end key_limit from ${s}.queue where name = _alike_queue) q on true
          ) l;
        with tag as materialized (
          select l.*, x.i, floor((l."limit" - _used[x.i] + _back) / _alike_weight) slots
          from unnest(_alike_tags) with ordinality x(tag, i) join ${s}.tag_limit l on l.tag = x.tag
        ), rate as (
          select l.tag, ${s}.credit_of(e.r, b.credit[e.i], b.at, _now) credit, least(_alike_weight, (e.r->>'burst')::float8) * (e.r->>'per')::float8 cost,
            (e.r->>'count')::float8 count
          from tag l left join lateral (select credit, at from ${s}.bucket b where b.tag = l.tag order by n desc limit 1) b on true
            cross join jsonb_array_elements(l.rates) with ordinality e(r, i)
          where l.enabled order by l.i, e.i
        )
        select least(_want, t.slots), least(_want, t.slots, r.starts), r.tags, r.credits, r.costs, r.counts,
            (select v.rank from ${s}.served v where v.queue = _alike_queue order by v.rank desc limit 1)
          into _slots, _room, _rated, _credits, _costs, _refills, _served
          from (select min(case when paused_until > _now then 0 when enabled and slots < 0 then 0 when enabled then slots end) slots from tag) t
            cross join (
              select case when min(credit) < 0 then 0 else min(floor(credit / cost)) end starts, array_agg(tag) tags,
                array_agg(credit) credits, array_agg(cost) costs, array_agg(count) counts from rate
            ) r;
        _is_alike := _sum <= 2 * _want;
        if _is_alike then
          if _room > 0 and _sum > 0 then
            _is_mine := pg_try_advisory_xact_lock(${lock(s)}, 3);
            if not _is_mine then${pick(s, { ordering: inOrder, locking: "for update skip locked" })}
            elsif _room < _sum then${pick(s, { ordering: inOrder })}
            else${pick(s, {})}
            end if;
          end if;
          _got := coalesce(cardinality(_some), 0);
          if _got > 0 then
            if _frees then
              ${freeing(s)}
            end if;
            ${taking(s, "j.ctid = any(_some)")}
          end if;
          if _got < least(_want, _slots, _sum) then
            -- Were there more, the next could start when each rate lets it.
            _next := (select max(ceil(((_got + 1) * cost - credit) / count)) from unnest(_credits, _costs, _refills) r(credit, cost, count));
            if _next <= 0 then _next := null; end if;
          end if;
          if _got > 0 or _lost is not null or _gone_lines is not null then
            -- How many of each line.
            _of := case when _got = _sum then _mosts else array(
              select coalesce(n.n, 0) from generate_series(1, cardinality(_mosts)) i
                left join (select o.i, count(*) n from unnest(_of) o(i) group by o.i) n using (i) order by i
            ) end;
            -- What serve() does, where how far it got is known already; what rates have left; and what this worker has now.
            with further as (
              insert into ${s}.served(queue, rank) select _alike_queue, _rank where _rank > coalesce(_served, 0)
            ), passed as (
              delete from ${s}.served v where v.queue = _alike_queue and v.rank = _served and _rank > _served
            ), spent as (
              insert into ${s}.bucket(tag, at, credit)
                select tag, _now, array_agg(credit - _got * cost order by i) from unnest(_rated, _credits, _costs) with ordinality r(tag, credit, cost, i)
                where _got > 0 group by tag
            ), replaced as (
              delete from ${s}.holding h where h.worker = _worker and h.n <= _written
            )
            insert into ${s}.holding(worker, names, weights) values (_worker, _names,
              array(select t.w - _back + _got * _alike_weight from unnest(_own[:_k]) with ordinality t(w, i) order by t.i)
              || array(select case when l.name <> '' then l.w + l.n * _alike_weight else 0 end
                from unnest(_names[_k + 1:_m], _held, _of) with ordinality l(name, w, n, i) order by l.i)
              || _own[_m + 1:]);
            _lost := null;
            _gone_lines := null;
          end if;
        end if;
      end;`

/** What ended of the lines of the turn before, where nobody knows any more what they have in common. */
export const restore = (s: string): string => `
    if _alike_epoch is not null and _gone_lines is not null then
      _lost := _lost || array(
        select (v.line, _alike_queue, _alike_tags, case when v.name <> '' then ${
  keyOf("v.name")
} end, sum(g.w))::${s}.demand
        from unnest(_gone_lines, _gone_weights) g(line, w) join unnest(_view_lines, _alike_names) v(line, name) on v.line = g.line group by v.line, v.name);
    end if;
    _gone_lines := null;`
