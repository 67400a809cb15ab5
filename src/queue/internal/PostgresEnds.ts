/** How attempts and jobs end, and what waits for a time or a lease, as functions of the database. */
import { lock } from "./PostgresEnqueue.ts"

export const ending = (s: string): string => `
-- A server that was away takes nobody's lease: it has to be up for as long as the lease lasts before it ends. (The WAL writer starts when recovery
-- is over.)
create function ${s}.lease_end(_expires double precision, _lasts double precision) returns double precision language sql stable as $$
  select greatest(_expires, floor(extract(epoch from greatest(pg_postmaster_start_time(),
    (select max(backend_start) from pg_stat_activity where backend_type in ('checkpointer', 'walwriter')))) * 1000) + _lasts)
$$;

-- Ends a job for good: with its reason, or its result.
create function ${s}.bury(_job ${s}.job, _state int, _detail text, _now double precision, _keep double precision[]) returns void language plpgsql as $$
begin
  delete from ${s}.job where seq = _job.seq;
  if _job.unique_key is not null then
    delete from ${s}.taken t where t.key = _job.unique_key and t.job = _job.seq and t.kind < 3;
  end if;
  if _keep[_state - 2] > 0 then
    insert into ${s}.ended(seq, priority, rank, due, enqueued, expires, claimed, ended, weight, token, attempt, crashes, max_crashes, state, once, name, queue, tags, key, payload, id, trace, errors, reason, result)
      values (_job.seq, _job.priority, _job.rank, _job.due, _job.enqueued, _job.expires, _job.claimed, _now, _job.weight, _job.token, _job.attempt, _job.crashes, _job.max_crashes, _state, _job.once, _job.name, _job.queue, _job.tags, _job.key, _job.payload, _job.id, _job.trace, _job.errors,
        case when _state > 3 then _detail end, case when _state = 3 then _detail end);
  end if;
end $$;

-- An attempt that is over, and not for good: waits again at its place, or when it is due. Cancelled meanwhile: that is its end.
create function ${s}.put_back(_job ${s}.job, _after double precision, _now double precision, _keep double precision[]) returns void language plpgsql as $$
begin
  if _job.cancel then
    perform ${s}.bury(_job, 5, null, _now, _keep);
  else
    update ${s}.job set state = case when _after > 0 then 0 else 1 end, worker = null, attempt = _job.attempt, crashes = _job.crashes,
      errors = _job.errors, due = case when _after is null then due else _now + greatest(_after, 0) end,
      -- The first key of its queue may have come meanwhile.
      ranked = ranked or exists(select from ${s}.queue q where q.name = _job.queue and q.keyed) where seq = _job.seq;
  end if;
end $$;

create function ${s}.give_back(_job ${s}.job, _now double precision, _keep double precision[]) returns void language plpgsql as $$
begin
  _job.attempt := _job.attempt - 1;
  perform ${s}.put_back(_job, null, _now, _keep);
end $$;

-- Ends leases and expired jobs, and lets wait what is due: in batches; says whether there was more.
create function ${s}.tidy(_now double precision, _keep double precision[], _look boolean, out leases int, out changed boolean, out more boolean) language plpgsql as $$
declare
  w ${s}.worker;
  j ${s}.job;
  n int := 0;
begin
  leases := 0;
  changed := false;
  more := false;
  for w in select * from ${s}.worker where expires <= _now and ${s}.lease_end(expires, lasts) <= _now order by id for update skip locked loop
    leases := leases + 1;
    for j in select * from ${s}.job where worker = w.id and state = 2 order by seq loop
      changed := true;
      if j.cancel then
        perform ${s}.bury(j, 5, null, _now, _keep);
        continue;
      end if;
      j.crashes := j.crashes + case when j.once then 0 else 1 end;
      j.errors := (j.errors || json_build_object('attempt', j.attempt, 'at', _now, 'reason', case when j.once then 'Lost' else 'Crashed' end,
        'message', 'the lease of worker ' || w.id || ' (' || w.name || ') ended')::text)[greatest(1, cardinality(j.errors) - 98):];
      if j.once then
        perform ${s}.bury(j, 4, 'Lost', _now, _keep);
      elsif j.crashes >= j.max_crashes then
        perform ${s}.bury(j, 4, 'Crashed', _now, _keep);
      else
        perform ${s}.put_back(j, null, _now, _keep);
      end if;
    end loop;
    delete from ${s}.worker where id = w.id;
    delete from ${s}.holding where worker = w.id;
  end loop;
  if not _look and leases = 0 then return; end if;
  perform pg_advisory_xact_lock_shared(${lock(s)}, 3);
  for j in select * from ${s}.job where state < 2 and attempt = 0 and expires is not null and expires <= _now order by expires limit 1000 for update skip locked loop
    perform ${s}.bury(j, 4, 'Expired', _now, _keep);
    n := n + 1;
  end loop;
  more := n = 1000;
  if exists(select from ${s}.job where state = 0 and due <= _now) then
    n := ${s}.promote(_now);
    changed := changed or n > 0;
    more := more or n = 1000;
  end if;
end $$;
`
