/**
 * Jobs that are put in while a worker waits for some: both are asked for at once, as one function of the database. Where nothing else waits and
 * nothing can be in their way, the jobs come in as claimed: a job that never waits costs half of one that does, and nobody needs to hear of it.
 */
import { claimedColumns } from "./PostgresClaim.ts"
import { lock } from "./PostgresEnqueue.ts"

/** The parameters are those of `enqueue` and `turn`, the columns those of `turn` and three more: of each job what `enqueue` says. */
export const passing = (s: string, enqueueParams: string, turnParams: string, turnColumns: string): string => {
  const names = (params: string): string => [...params.matchAll(/\b_\w+/g)].join(", ")
  return `
create function ${s}.enqueue_and_turn(${enqueueParams}, ${turnParams})
returns table(${turnColumns}, ids text[], whats text[], details text[])
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
  _n int := cardinality(_payload);
  _shared jsonb := _shapes->0;
  _queue text;
  _tagged text[] := '{}';
  _now double precision;
  _began timestamptz;
  c record;
begin
  if jsonb_array_length(_shapes) = 1 and _n <= _want and _view_lines is null
    and coalesce(_key, _id, _unique_key, _holds) is null and _ok is null and _end is null
    and coalesce(_due_in, _due_at, _expires_in, _expires_at) is null
    -- Those it would have to wait for, before what a turn waits for.
    and not exists(select from ${s}.numeric_ids)
    and not exists(select from ${s}.queue q where q.name = _shared->>0 and (q.is_bounded or q.keyed))
  then
    _queue := _shared->>0;
    if _shared->2 <> '[]' then _tagged := array(select jsonb_array_elements_text(_shared->2)); end if;
    perform pg_advisory_xact_lock_shared(${lock(s)}, 1);
    _now := ${s}.clock();
    _began := clock_timestamp();
    -- Whatever there is to see to, or may come first, a turn sees to.
    select f.epoch, d.due - _now due_in, o.expires - _now sweep_in,
        w.epoch = _turns and w.expires > _now and q.keyed is not true and q.paused is not true and q.is_bounded is not true
        and (_queues is null or _queue = any(_queues)) and (_tags is null or _tagged && _tags) and (_names is null or _shared->>1 = any(_names))
        and (_from is null or (_shared->>4)::float8 >= _from) and (_to is null or (_shared->>4)::float8 <= _to)
        and (_tagged = '{}' or not exists(select from ${s}.tag_limit l where l.tag = any(_tagged)))
        and (d.due > _now) is not false and (o.expires > _now) is not false
        and not exists(select from ${s}.numeric_ids) and not exists(select from ${s}.job g where g.state = 1)
        and not exists(select from ${s}.job g where g.worker = _worker and g.state = 2 and g.cancel) is_free
      into c from ${s}.worker w cross join ${s}.config f left join ${s}.queue q on q.name = _queue
        cross join (select least(
          (select g.due from ${s}.job g where g.state = 0 order by g.due limit 1),
          (select g.expires from ${s}.job g where g.state < 2 and g.attempt = 0 and g.expires is not null order by g.expires limit 1)
        ) due) d
        cross join (select min(x.expires) expires from ${s}.worker x where x.id <> _worker) o
      where w.id = _worker for key share of w;
    looked := extract(epoch from clock_timestamp() - _began) * 1000;
    if c.is_free then
      return query insert into ${s}.job as j(
          line, priority, rank, due, enqueued, epoch, weight, max_crashes, state, limited, ranked, bounded,
          once, name, queue, tags, payload, trace, worker, token, attempt, claimed
        ) select
          ${s}.line_of(c.epoch, _queue, '{}', null, (_shared->>3)::float8), (_shared->>4)::float8, 0, _now, _now, c.epoch, (_shared->>3)::float8,
          (_shared->>6)::int, 2, false, false, false,
          (_shared->>5)::boolean, _shared->>1, _queue, _tagged, p.payload, p.trace, _worker, 1, 1, _now
        from unnest(_payload, _trace) with ordinality p(payload, trace, o) order by p.o
        returning ${claimedColumns}, null::text[], null::text[], null::text[];
      cancelled := '{}';
      due_in := c.due_in;
      next := case when _n = _want then 0 else least(c.due_in, c.sweep_in) end;
      alive := true;
      return next;
      return;
    end if;
  end if;
  -- The worker comes from what is put in, so that nothing is claimed before that.
  return query select t.*, e.ids, e.whats, e.details
    from (select _worker worker, array_agg(id) ids, array_agg(what) whats, array_agg(detail) details from ${s}.enqueue(${
    names(enqueueParams)
  })) e
      cross join lateral ${s}.turn(e.worker, ${names(turnParams.replace("_worker bigint,", ""))}) t;
end $$;
`
}
