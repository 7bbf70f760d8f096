-- The journal: events, the commands that made them, leases, progress. Everything is in a schema of its own.
--
-- Nobody but the tables' owner may write: the role of a running program reads, and writes through `append`,
-- `write_leases` and `write_reports` alone. The triggers below hold against the owner's plain statements, too. They are
-- a rail: an owner can disable them, a superuser can do anything.

create table switchyard_journal.migration (
    version bigint primary key,
    checksum bytea not null
);

-- One journal, one migration.
create table switchyard_journal.journal (
    only_row boolean primary key default true check (only_row),
    migration text not null check (length(migration) between 1 and 40)
);

-- The newest position. Locked by every append until its commit, so the order of positions is the order of commits.
create table switchyard_journal.head (
    only_row boolean primary key default true check (only_row),
    position bigint not null check (position >= 0)
);

insert into switchyard_journal.head (position) values (0);

create table switchyard_journal.command (
    id text primary key check (length(id) between 1 and 200),
    -- SHA-256 of the command's canonical form: a repeat must be the same command.
    digest bytea not null check (length(digest) = 32),
    first_position bigint not null check (first_position >= 1),
    last_position bigint not null check (last_position >= first_position)
);

create table switchyard_journal.event (
    position bigint primary key check (position >= 1),
    -- The canonical JSON (RFC 8785) that is hashed. The columns after the leaf are projections of it.
    bytes bytea not null check (length(bytes) > 0),
    -- RFC 6962: SHA-256 of a zero byte and the bytes.
    leaf bytea not null check (length(leaf) = 32),
    event_id text not null unique check (length(event_id) between 1 and 40),
    command_id text not null,
    kind text not null check (length(kind) > 0),
    phase text,
    -- Milliseconds since 1970-01-01 UTC.
    recorded_at bigint not null
);

-- A row stays when its lease is over or released: it keeps the epoch, which is never used twice.
create table switchyard_journal.lease (
    phase text primary key check (length(phase) between 1 and 40),
    epoch bigint not null check (epoch >= 1),
    holder text not null check (length(holder) between 1 and 200),
    -- Milliseconds since 1970-01-01 UTC; from that instant on it is free.
    expires_at bigint not null
);

-- What nobody audits: the newest report of each phase, overwritten.
create table switchyard_journal.progress (
    phase text primary key check (length(phase) between 1 and 40),
    at bigint not null,
    body text not null
);

create function switchyard_journal.refuse() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'the journal is append-only: % of % is refused', tg_op, tg_table_name
        using errcode = 'restrict_violation';
end
$$;

create function switchyard_journal.head_grows() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if new.position <= old.position then
        raise exception 'the journal''s head only grows' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;

create function switchyard_journal.lease_grows() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if new.phase <> old.phase
        or new.epoch < old.epoch
        or (new.epoch = old.epoch and new.holder <> old.holder)
    then
        raise exception 'a lease changes hands under a higher epoch alone' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;

create trigger event_stays before update or delete on switchyard_journal.event
    for each row execute function switchyard_journal.refuse();
create trigger event_not_truncated before truncate on switchyard_journal.event
    for each statement execute function switchyard_journal.refuse();
create trigger command_stays before update or delete on switchyard_journal.command
    for each row execute function switchyard_journal.refuse();
create trigger command_not_truncated before truncate on switchyard_journal.command
    for each statement execute function switchyard_journal.refuse();
create trigger journal_stays before update or delete on switchyard_journal.journal
    for each row execute function switchyard_journal.refuse();
create trigger journal_not_truncated before truncate on switchyard_journal.journal
    for each statement execute function switchyard_journal.refuse();
create trigger head_stays before delete on switchyard_journal.head
    for each row execute function switchyard_journal.refuse();
create trigger head_not_truncated before truncate on switchyard_journal.head
    for each statement execute function switchyard_journal.refuse();
create trigger head_grows before update on switchyard_journal.head
    for each row execute function switchyard_journal.head_grows();
create trigger lease_stays before delete on switchyard_journal.lease
    for each row execute function switchyard_journal.refuse();
create trigger lease_not_truncated before truncate on switchyard_journal.lease
    for each statement execute function switchyard_journal.refuse();
create trigger lease_grows before update on switchyard_journal.lease
    for each row execute function switchyard_journal.lease_grows();

-- Always: a session in the role of a replica is refused as well.
alter table switchyard_journal.event enable always trigger event_stays;
alter table switchyard_journal.event enable always trigger event_not_truncated;
alter table switchyard_journal.command enable always trigger command_stays;
alter table switchyard_journal.command enable always trigger command_not_truncated;
alter table switchyard_journal.journal enable always trigger journal_stays;
alter table switchyard_journal.journal enable always trigger journal_not_truncated;
alter table switchyard_journal.head enable always trigger head_stays;
alter table switchyard_journal.head enable always trigger head_not_truncated;
alter table switchyard_journal.head enable always trigger head_grows;
alter table switchyard_journal.lease enable always trigger lease_stays;
alter table switchyard_journal.lease enable always trigger lease_not_truncated;
alter table switchyard_journal.lease enable always trigger lease_grows;

-- The clock that leases and events go by. A function in SQL would be read and planned anew by each call.
create function switchyard_journal.now_ms() returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$ begin return (extract(epoch from clock_timestamp()) * 1000)::bigint; end $$;

-- Takes the head's lock until the end of the transaction, then reads what a batch has to know: the clock (what 0), a page
-- of the newer events (1), commands seen before (2), leases (3). Under READ COMMITTED each statement has a snapshot
-- of its own, taken after the lock was.
create function switchyard_journal.enter(after bigint, ids text[], phases text[], page integer)
returns table (what integer, name text, holder text, low bigint, high bigint, bytes bytea, hash bytea)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform 1 from switchyard_journal.head for update;
    return query
        select 0, null::text, null::text, switchyard_journal.now_ms(), null::bigint, null::bytea, null::bytea;
    return query
        select 1, null::text, null::text, e.position, null::bigint, e.bytes, e.leaf
        from switchyard_journal.event e
        where e.position > after
        order by e.position
        limit page;
    return query
        select 2, c.id, null::text, c.first_position, c.last_position, c.digest, null::bytea
        from switchyard_journal.command c
        where c.id = any (ids);
    return query
        select 3, l.phase, l.holder, l.epoch, l.expires_at, null::bytea, null::bytea
        from switchyard_journal.lease l
        where l.phase = any (phases);
end
$$;

-- Appends after the head that is expected, in one transaction with the proof that what was decided on still holds: the
-- head, the clock within `slack` milliseconds (none: it was read under this lock), each claim, and that the commands are
-- new. Gives the clock; fails with unique_violation for a command that is not new and with serialization_failure for the
-- rest, and then nothing is written.
--
-- One call is one append, so what does not depend on its rows is kept small: the update is the lock, the primary key is the
-- look for the commands, and plans are made once, whatever the arrays' lengths.
create function switchyard_journal.append(
    expected bigint,
    decided_at bigint,
    slack bigint,
    fence_phases text[],
    fence_epochs bigint[],
    ids text[],
    digests bytea[],
    firsts bigint[],
    lasts bigint[],
    bodies bytea[],
    event_ids text[],
    command_ids text[],
    kinds text[],
    phases text[],
    times bigint[]
)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
    clock bigint;
begin
    update switchyard_journal.head h set position = expected + cardinality(bodies) where h.position = expected;
    if not found then
        raise exception 'event % would be not after the head', expected + 1 using errcode = 'serialization_failure';
    end if;
    clock := switchyard_journal.now_ms();
    if abs(clock - decided_at) > slack then
        raise exception 'decided at %, now it is %', decided_at, clock using errcode = 'serialization_failure';
    end if;
    if cardinality(fence_phases) > 0 then
        perform 1
        from unnest(fence_phases, fence_epochs) f (phase, epoch)
        left join switchyard_journal.lease l on l.phase = f.phase
        where l.epoch is distinct from f.epoch or l.expires_at <= clock;
        if found then
            raise exception 'a lease is not as it was taken to be' using errcode = 'serialization_failure';
        end if;
    end if;
    insert into switchyard_journal.command (id, digest, first_position, last_position)
        select * from unnest(ids, digests, firsts, lasts);
    insert into switchyard_journal.event (position, bytes, leaf, event_id, command_id, kind, phase, recorded_at)
        select expected + e.place, e.body, sha256('\x00'::bytea || e.body), e.id, e.command, e.kind, e.phase, e.at
        from unnest(bodies, event_ids, command_ids, kinds, phases, times)
            with ordinality e (body, id, command, kind, phase, at, place);
    return clock;
end
$$;

create function switchyard_journal.write_leases(
    phases text[],
    epochs bigint[],
    holders text[],
    ends bigint[]
)
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    insert into switchyard_journal.lease as l (phase, epoch, holder, expires_at)
        select * from unnest(phases, epochs, holders, ends)
    on conflict (phase) do update
        set epoch = excluded.epoch, holder = excluded.holder, expires_at = excluded.expires_at
$$;

create function switchyard_journal.write_reports(phases text[], bodies text[], written_at bigint)
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    insert into switchyard_journal.progress as p (phase, at, body)
        select r.phase, written_at, r.body from unnest(phases, bodies) r (phase, body)
    on conflict (phase) do update set at = excluded.at, body = excluded.body
$$;

revoke execute on all functions in schema switchyard_journal from public;
