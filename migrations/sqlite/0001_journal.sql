-- The journal: events, leases, progress.
--
-- The guards below are a rail: whoever has the file can drop them. They hold against every plain statement of a
-- program that has a connection: UPDATE, DELETE, INSERT OR REPLACE, INSERT OR IGNORE, UPSERT.

-- 'SWYD': says that this file is a journal, before anything is read from it.
pragma application_id = 1398233412;

-- One journal, one migration.
create table journal (
    only_row integer primary key check (only_row = 1),
    migration text not null check (length(migration) between 1 and 40)
) strict;

create table event (
    -- Dense, from 1, in the order of commits: the trigger below admits the next position alone.
    position integer primary key check (position >= 1),
    -- The canonical JSON (RFC 8785) that is hashed. The columns after the leaf are projections of it.
    bytes blob not null check (length(bytes) > 0),
    -- RFC 6962: SHA-256 of a zero byte and the bytes.
    leaf blob not null check (length(leaf) = 32),
    event_id text not null check (length(event_id) between 1 and 40),
    command_id text not null check (length(command_id) between 1 and 200),
    -- SHA-256 of the command's canonical form, at the first of its events: a repeat must be the same command.
    digest blob check (length(digest) = 32),
    kind text not null check (length(kind) > 0),
    phase text,
    -- Milliseconds since 1970-01-01 UTC.
    recorded_at integer not null
) strict;

-- A command id is used once.
create unique index event_command on event (command_id) where digest is not null;

create trigger event_update before update on event
begin
    select raise(abort, 'the journal is append-only: an event is never changed');
end;

create trigger event_delete before delete on event
begin
    select raise(abort, 'the journal is append-only: an event is never deleted');
end;

-- INSERT OR REPLACE deletes what it conflicts with without firing a DELETE trigger, so a conflict on any key has to be
-- seen before the row goes in. A missing position is -1 here, which is not the next one either.
create trigger event_insert before insert on event
when new.position is not (select coalesce(max(position), 0) + 1 from event)
begin
    select raise(abort, 'the journal is append-only: an event goes to the next position');
end;

create trigger event_of_command before insert on event
when case
    when new.digest is null then
        new.command_id is not (select command_id from event where position = new.position - 1)
    else exists (select 1 from event where command_id = new.command_id and digest is not null)
end
begin
    select raise(abort, 'the journal is append-only: a command id is used once');
end;

create trigger journal_update before update on journal
begin
    select raise(abort, 'a journal never changes its migration');
end;

create trigger journal_delete before delete on journal
begin
    select raise(abort, 'a journal never changes its migration');
end;

create trigger journal_insert before insert on journal
when exists (select 1 from journal)
begin
    select raise(abort, 'a journal never changes its migration');
end;

-- A row stays when its lease is over or released: it keeps the epoch, which is never used twice.
create table lease (
    phase text not null primary key check (length(phase) between 1 and 40),
    epoch integer not null check (epoch >= 1),
    holder text not null check (length(holder) between 1 and 200),
    -- Milliseconds since 1970-01-01 UTC; from that instant on it is free.
    expires_at integer not null
) strict, without rowid;

create trigger lease_update before update on lease
when new.phase is not old.phase
    or new.epoch < old.epoch
    or (new.epoch = old.epoch and new.holder is not old.holder)
begin
    select raise(abort, 'a lease changes hands under a higher epoch alone');
end;

create trigger lease_delete before delete on lease
begin
    select raise(abort, 'a lease keeps its epoch for ever');
end;

create trigger lease_insert before insert on lease
when exists (select 1 from lease where phase = new.phase)
begin
    select raise(abort, 'a lease keeps its epoch for ever');
end;

-- What nobody audits: the newest report of each phase, overwritten.
create table progress (
    phase text not null primary key check (length(phase) between 1 and 40),
    at integer not null,
    body text not null
) strict, without rowid;
