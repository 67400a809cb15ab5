/** Leases, and what is done with kept jobs beside the turns, as functions of the database. */
import { lock } from "./PostgresEnqueue.ts"

export const leasing = (s: string): string => `
create function ${s}.join_lease(_name text, _lasts double precision, out worker text, out lasts double precision, out sweep_in double precision)
language plpgsql as $$
#variable_conflict use_column
declare
  _now double precision := ${s}.clock();
  _id bigint;
begin
  insert into ${s}.worker(name, lasts, joined, expires) values (_name, _lasts, _now, _now + _lasts) returning id into _id;
  worker := _id::text;
  lasts := _lasts;
  sweep_in := ${s}.sweep_in(_id, _now);
end $$;

create function ${s}.sweep_in(_but bigint, _now double precision) returns double precision language sql stable as $$
  select case when count(*) > 0 then greatest(0, min(case when expires > _now then expires else ${s}.lease_end(expires, lasts) end) - _now) end
  from ${s}.worker where id <> _but
$$;

-- Null: the lease has ended.
create function ${s}.renew_lease(_worker bigint, out lasts double precision, out sweep_in double precision) language plpgsql as $$
#variable_conflict use_column
declare
  _now double precision;
  w ${s}.worker;
begin
  select * into w from ${s}.worker x where x.id = _worker for no key update;
  _now := ${s}.clock();
  if not found or (w.expires <= _now and ${s}.lease_end(w.expires, w.lasts) <= _now) then return; end if;
  update ${s}.worker x set expires = _now + x.lasts where x.id = _worker;
  lasts := w.lasts;
  sweep_in := ${s}.sweep_in(_worker, _now);
end $$;

create function ${s}.leave_lease(_worker bigint, _keep double precision[]) returns void language plpgsql as $$
declare
  j ${s}.job;
begin
  perform pg_advisory_xact_lock_shared(${lock(s)}, 1);
  -- Of a lease that has ended nothing is given back: the sweep counts its crashes.
  perform from ${s}.worker where id = _worker and (expires > ${s}.clock() or ${s}.lease_end(expires, lasts) > ${s}.clock()) for update;
  if not found then return; end if;
  for j in select * from ${s}.job where worker = _worker and state = 2 order by seq loop
    perform ${s}.give_back(j, ${s}.clock(), _keep);
  end loop;
  delete from ${s}.worker where id = _worker;
  delete from ${s}.holding where worker = _worker;
  perform ${s}.notify('');
end $$;

create function ${s}.sweep(_keep double precision[]) returns int language plpgsql as $$
declare
  n int := 0;
  t record;
begin
  perform pg_advisory_xact_lock_shared(${lock(s)}, 1);
  for i in 1..1000 loop
    select * into t from ${s}.tidy(${s}.clock(), _keep, true);
    n := n + t.leases;
    if t.leases > 0 or t.changed then perform ${s}.notify(''); end if;
    exit when not t.more;
  end loop;
  return n;
end $$;

create function ${s}.cancel(_id text, _keep double precision[]) returns boolean language plpgsql as $$
declare
  j ${s}.job;
begin
  perform pg_advisory_xact_lock_shared(${lock(s)}, 3);
  select * into j from ${s}.job where seq = ${s}.find(_id) for update;
  if not found then return false; end if;
  if j.state < 2 then
    perform ${s}.bury(j, 5, null, ${s}.clock(), _keep);
  else
    update ${s}.job set cancel = true where seq = j.seq;
  end if;
  perform ${s}.notify('');
  return true;
end $$;

create function ${s}.redrive(_ids text[], _queue text, _name text, _reason text) returns int language plpgsql as $$
declare
  _now double precision := ${s}.clock();
  _seqs bigint[];
  j record;
begin
  with e as (
    delete from ${s}.ended where state = 4 and (_ids is null or seq in (select ${s}.find(i) from unnest(_ids) i))
      and (_queue is null or queue = _queue) and (_name is null or name = _name) and (_reason is null or reason = _reason)
    returning *
  ), i as (
    insert into ${s}.job(seq, line, priority, rank, due, enqueued, claimed, epoch, weight, token, max_crashes, state, limited, ranked, bounded, once, name, queue, tags, key, payload, id, trace, errors)
      overriding system value
      select e.seq, p.line, e.priority, case when q.keyed then e.rank else coalesce(e.rank, 0) end, _now, e.enqueued, e.claimed, p.epoch, e.weight, e.token,
        e.max_crashes, case when q.keyed then 0 else 1 end, p.limited, coalesce(q.keyed, false), coalesce(q.is_bounded, false), e.once, e.name,
        e.queue, e.tags, e.key, e.payload, e.id, e.trace, e.errors
      from e left join ${s}.queue q on q.name = e.queue cross join lateral ${s}.place(e.queue, e.tags, e.key, e.weight) p
      returning seq
  )
  select array_agg(seq) into _seqs from i;
  for j in select seq, queue, key from ${s}.job where seq = any(_seqs) and state = 0 order by seq loop
    update ${s}.job set state = 1, rank = coalesce(rank, ${s}.rank_of(j.queue, j.key)) where seq = j.seq;
  end loop;
  if _seqs is not null then perform ${s}.notify(''); end if;
  return coalesce(cardinality(_seqs), 0);
end $$;

-- One batch of what has been kept long enough.
create function ${s}.prune(_keep double precision[]) returns int language plpgsql set enable_seqscan = off as $$
declare
  _now double precision := ${s}.clock();
  n int := 0;
  m int;
begin
  for i in 1..3 loop
    delete from ${s}.ended where ctid = any(array(
      select ctid from ${s}.ended where state = i + 2 and ended <= _now - _keep[i] order by ended limit 1000 for update skip locked));
    get diagnostics m = row_count;
    n := n + m;
  end loop;
  delete from ${s}.taken where ctid = any(array(select ctid from ${s}.taken where until <= _now limit 1000 for update skip locked));
  delete from ${s}.bucket b where b.n < (select max(c.n) from ${s}.bucket c where c.tag = b.tag);
  delete from ${s}.holding h where h.n < (select max(x.n) from ${s}.holding x where x.worker = h.worker);
  delete from ${s}.served v where rank < (select max(rank) from ${s}.served c where c.queue = v.queue);
  return n;
end $$;
`
