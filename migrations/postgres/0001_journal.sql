-- The journal: events, leases, progress. Everything is in a schema of its own.
--
-- Nobody but the tables' owner may write: the role of a running program reads, and writes through `append`,
-- `write_leases` and `write_reports` alone. The triggers below hold against the owner's plain statements, too. They are
-- a rail: an owner can disable them, a superuser can do anything.

-- What a column may hold is said by its type: a table's CHECK is read anew by each statement, a domain's once a session.
create domain switchyard_journal.only as boolean check (value);
create domain switchyard_journal.place as bigint check (value >= 1);
create domain switchyard_journal.short_text as text check (length(value) between 1 and 40);
create domain switchyard_journal.long_text as text check (length(value) between 1 and 200);
create domain switchyard_journal.some_bytes as bytea check (length(value) > 0);
-- SHA-256.
create domain switchyard_journal.hash as bytea check (length(value) = 32);

create table switchyard_journal.migration (
    version bigint primary key,
    checksum bytea not null
);

-- One journal, one migration.
create table switchyard_journal.journal (
    only_row switchyard_journal.only primary key default true,
    migration switchyard_journal.short_text not null
);

-- The newest position. Locked by every append until its commit, so the order of positions is the order of commits.
create table switchyard_journal.head (
    only_row switchyard_journal.only primary key default true,
    position bigint not null
);

insert into switchyard_journal.head (position) values (0);

create table switchyard_journal.event (
    position switchyard_journal.place primary key,
    -- The canonical JSON (RFC 8785) that is hashed. The columns after the leaf are projections of it.
    bytes switchyard_journal.some_bytes not null,
    -- RFC 6962: of a zero byte and the bytes.
    leaf switchyard_journal.hash not null,
    event_id switchyard_journal.short_text not null,
    command_id switchyard_journal.long_text not null,
    -- Of the command's canonical form, at the first of its events: a repeat must be the same command.
    digest switchyard_journal.hash,
    kind switchyard_journal.short_text not null,
    phase text,
    -- Milliseconds since 1970-01-01 UTC.
    recorded_at bigint not null
);

-- A command id is used once.
create unique index event_command on switchyard_journal.event (command_id) where digest is not null;

-- A row stays when its lease is over or released: it keeps the epoch, which is never used twice.
create table switchyard_journal.lease (
    phase switchyard_journal.short_text primary key,
    epoch switchyard_journal.place not null,
    holder switchyard_journal.long_text not null,
    -- Milliseconds since 1970-01-01 UTC; from that instant on it is free.
    expires_at bigint not null
);

-- What nobody audits: the newest report of each phase, overwritten.
create table switchyard_journal.progress (
    phase switchyard_journal.short_text primary key,
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
    raise exception 'the journal''s head only grows' using errcode = 'restrict_violation';
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
create trigger journal_stays before update or delete on switchyard_journal.journal
    for each row execute function switchyard_journal.refuse();
create trigger journal_not_truncated before truncate on switchyard_journal.journal
    for each statement execute function switchyard_journal.refuse();
create trigger head_stays before delete on switchyard_journal.head
    for each row execute function switchyard_journal.refuse();
create trigger head_not_truncated before truncate on switchyard_journal.head
    for each statement execute function switchyard_journal.refuse();
create trigger head_grows before update on switchyard_journal.head
    for each row when (new.position <= old.position) execute function switchyard_journal.head_grows();
create trigger lease_stays before delete on switchyard_journal.lease
    for each row execute function switchyard_journal.refuse();
create trigger lease_not_truncated before truncate on switchyard_journal.lease
    for each statement execute function switchyard_journal.refuse();
create trigger lease_grows before update on switchyard_journal.lease
    for each row execute function switchyard_journal.lease_grows();

-- Always: a session in the role of a replica is refused as well.
alter table switchyard_journal.event enable always trigger event_stays;
alter table switchyard_journal.event enable always trigger event_not_truncated;
alter table switchyard_journal.journal enable always trigger journal_stays;
alter table switchyard_journal.journal enable always trigger journal_not_truncated;
alter table switchyard_journal.head enable always trigger head_stays;
alter table switchyard_journal.head enable always trigger head_not_truncated;
alter table switchyard_journal.head enable always trigger head_grows;
alter table switchyard_journal.lease enable always trigger lease_stays;
alter table switchyard_journal.lease enable always trigger lease_not_truncated;
alter table switchyard_journal.lease enable always trigger lease_grows;

-- The clock that leases and events go by. A function in SQL would be read and planned anew by each call; names are written
-- whole as in `append`.
create function switchyard_journal.now_ms() returns bigint
language plpgsql volatile
as $$
begin
    return (
        pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) operator(pg_catalog.*) 1000
    )::pg_catalog.int8;
end
$$;

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
        select 1, null::text, null::text, e.position::bigint, null::bigint, e.bytes::bytea, e.leaf::bytea
        from switchyard_journal.event e
        where e.position > after
        order by e.position
        limit page;
    return query
        select
            2, e.command_id::text, null::text, e.position::bigint, null::bigint, e.digest::bytea, null::bytea
        from switchyard_journal.event e
        where e.command_id = any (ids) and e.digest is not null;
    return query
        select 3, l.phase::text, l.holder::text, l.epoch::bigint, l.expires_at, null::bytea, null::bytea
        from switchyard_journal.lease l
        where l.phase = any (phases);
end
$$;

-- Appends after the head that is expected, in one transaction with the proof that what was decided on still holds: the
-- head, the clock within `slack` milliseconds (none: it was read under this lock), each claim, and that the commands are
-- new. Gives the clock; fails with unique_violation for a command that is not new and with serialization_failure for the
-- rest, and then nothing is written.
--
-- One call is one append, and mostly one event, so what does not depend on its rows is kept small: the update is the lock,
-- the index is the look for the commands, and a single row is taken out of the arrays directly. To set a search path for
-- the time of a call costs a quarter of it, so every name is written whole instead, operators too: whose path the caller
-- has then means nothing. (`unnest` of several is the grammar's, and always the system's.)
create function switchyard_journal.append(
    expected bigint,
    decided_at bigint,
    slack bigint,
    fence_phases text[],
    fence_epochs bigint[],
    bodies bytea[],
    event_ids text[],
    command_ids text[],
    digests bytea[],
    kinds text[],
    phases text[],
    times bigint[]
)
returns bigint
language plpgsql
security definer
as $$
declare
    clock pg_catalog.int8;
begin
    update switchyard_journal.head h
        set position = expected operator(pg_catalog.+) pg_catalog.cardinality(bodies)
        where h.position operator(pg_catalog.=) expected;
    if not found then
        raise exception 'event % would be not after the head', expected operator(pg_catalog.+) 1
            using errcode = 'serialization_failure';
    end if;
    clock := switchyard_journal.now_ms();
    if pg_catalog.abs(clock operator(pg_catalog.-) decided_at) operator(pg_catalog.>) slack then
        raise exception 'decided at %, now it is %', decided_at, clock using errcode = 'serialization_failure';
    end if;
    if pg_catalog.cardinality(fence_phases) operator(pg_catalog.=) 1 then
        perform 1
        from switchyard_journal.lease l
        where l.phase operator(pg_catalog.=) fence_phases[1]
            and l.epoch operator(pg_catalog.=) fence_epochs[1]
            and l.expires_at operator(pg_catalog.>) clock;
        if not found then
            raise exception 'a lease is not as it was taken to be' using errcode = 'serialization_failure';
        end if;
    elsif pg_catalog.cardinality(fence_phases) operator(pg_catalog.>) 1 then
        perform 1
        from unnest(fence_phases, fence_epochs) f (phase, epoch)
        where not exists (
            select from switchyard_journal.lease l
            where l.phase operator(pg_catalog.=) f.phase
                and l.epoch operator(pg_catalog.=) f.epoch
                and l.expires_at operator(pg_catalog.>) clock
        );
        if found then
            raise exception 'a lease is not as it was taken to be' using errcode = 'serialization_failure';
        end if;
    end if;
    if pg_catalog.cardinality(bodies) operator(pg_catalog.=) 1 then
        insert into switchyard_journal.event
            (position, bytes, leaf, event_id, command_id, digest, kind, phase, recorded_at)
            values (
                expected operator(pg_catalog.+) 1, bodies[1],
                pg_catalog.sha256('\x00'::pg_catalog.bytea operator(pg_catalog.||) bodies[1]),
                event_ids[1], command_ids[1], digests[1], kinds[1], phases[1], times[1]
            );
        return clock;
    end if;
    insert into switchyard_journal.event
        (position, bytes, leaf, event_id, command_id, digest, kind, phase, recorded_at)
        select
            expected operator(pg_catalog.+) e.place, e.body,
            pg_catalog.sha256('\x00'::pg_catalog.bytea operator(pg_catalog.||) e.body),
            e.id, e.command, e.digest, e.kind, e.phase, e.at
        from unnest(bodies, event_ids, command_ids, digests, kinds, phases, times)
            with ordinality e (body, id, command, digest, kind, phase, at, place);
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
