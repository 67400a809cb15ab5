/** What all claims have in common, as text of functions of the database. */
export const claiming = (s: string): string => `
-- How far fairness got in a queue.
create function ${s}.serve(_queue text, _rank double precision) returns void language plpgsql as $$
declare _last double precision := (select v.rank from ${s}.served v where v.queue = _queue order by v.rank desc limit 1);
begin
  if _rank > coalesce(_last, 0) then
    insert into ${s}.served(queue, rank) values (_queue, _rank);
    delete from ${s}.served v where v.ctid = (select b.ctid from ${s}.served b where b.queue = _queue and b.rank = _last limit 1);
  end if;
end $$;
`

/** Of a job `j` that was just claimed: what a turn answers. */
export const claimedColumns =
  `coalesce(j.id, j.seq::text), j.token, j.name, j.payload, j.queue, j.tags, j.key, j.priority, j.weight, j.once, j.attempt, j.errors,
            j.enqueued, j.due, j.trace, j.rank, j.seq::float8,
            null::text[], null::text[], null::float8, null::boolean, null::float8, null::float8, null::text[], null::float8[], null::float8[], null::float8[],
            null::boolean, null::int, null::text, null::text[], null::float8, null::text[], null::text[]`

/** Claims jobs, and answers with them. */
export const taking = (s: string, which: string): string =>
  `return query update ${s}.job j set state = 2, worker = _worker, token = j.token + 1, attempt = j.attempt + 1, claimed = _now
          where ${which}
          returning ${claimedColumns};`

/** The unique keys that jobs have for as long as they wait are free again. */
export const freeing = (s: string): string =>
  `delete from ${s}.taken t using ${s}.job j where j.ctid = any(_some) and j.unique_while = 1 and t.key = j.unique_key and t.job = j.seq;`

/**
 * A claim of what a query finds; where there are unique keys or fairness, with what it frees and how far that got. (The first of these that comes
 * after it was looked for is claimed by the next turn.)
 */
export const claim = (s: string, found: string): string => `
      if _is_plain then
        ${
  taking(
    s,
    `j.ctid = any(array(select f.ctid from ${found})) and not j.ranked
            and (j.unique_key is null or not exists(select from ${s}.taken t where t.key = j.unique_key and t.job = j.seq))`
  )
}
      else
        select array_agg(f.ctid), bool_or(f.unique_while = 1), bool_or(f.ranked) into _some, _frees, _is_ranked
          from (select f.ctid, f.unique_while, f.ranked from ${found}) f;
        if _frees then
          ${freeing(s)}
        end if;
        if _is_ranked then
          perform ${s}.serve(f.queue, max(f.rank)) from ${s}.job f where f.ctid = any(_some) and f.ranked group by f.queue;
        end if;
        ${taking(s, "j.ctid = any(_some)")}
      end if;
      get diagnostics _n = row_count;
      _got := _got + _n;`
