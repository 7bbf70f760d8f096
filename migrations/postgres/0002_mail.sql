-- What people send and what is sent to them: rows that wait. Nothing here is an event, and nobody audits it. The role of
-- a running program reads, inserts and updates here; it deletes nothing.

create table switchyard_journal.inbox (
    -- In the order of arrival; never used again.
    id bigint generated always as identity primary key,
    -- The platform's own name of the delivery, where it has one: the same when it delivers again.
    transport_key text unique check (length(transport_key) between 1 and 300),
    -- What is meant, however it came: the id of the command that is appended for it.
    meaning_key text not null unique check (length(meaning_key) between 1 and 180),
    platform text not null check (platform in ('github', 'slack', 'discord')),
    kind text not null check (length(kind) between 1 and 40),
    body text not null,
    -- Times are milliseconds since 1970-01-01 UTC.
    received_at bigint not null,
    taken_by text check (length(taken_by) between 1 and 200),
    -- From that instant on anybody may take it.
    taken_until bigint not null default 0,
    -- Raised by each taking: who took it before cannot finish it any more.
    tries bigint not null default 0,
    finished_at bigint
);

create index inbox_waiting on switchyard_journal.inbox (id) where finished_at is null;

create table switchyard_journal.outbox (
    id bigint generated always as identity primary key,
    platform text not null check (platform in ('github', 'slack', 'discord')),
    destination text not null,
    -- Rows of one destination and one such key are states of one message, the newest of which counts.
    living text check (length(living) between 1 and 200),
    -- The higher leaves first.
    priority bigint not null,
    body text not null,
    written_at bigint not null,
    due_at bigint not null,
    taken_by text check (length(taken_by) between 1 and 200),
    taken_until bigint not null default 0,
    attempts bigint not null default 0,
    -- Sent, under the platform's id of the message; or given up, because of the last error. Neither: it waits.
    sent_at bigint,
    message_id text,
    given_up_at bigint,
    last_error text
);

create index outbox_waiting on switchyard_journal.outbox (platform, id) where sent_at is null and given_up_at is null;
create index outbox_living on switchyard_journal.outbox (destination, living, id) where living is not null;

-- How far a reader of the journal has come whose messages stand in the outbox: both are written in one transaction, so
-- that each event is told of once.
create table switchyard_journal.watermark (
    reader text primary key check (length(reader) between 1 and 100),
    position bigint not null check (position >= 0)
);

-- Whoever puts a row into a box locks its row here until the commit, so that a row with a lower number is never seen
-- later than one with a higher number.
create table switchyard_journal.box (
    name text primary key
);

insert into switchyard_journal.box (name) values ('inbox'), ('outbox');

create trigger box_stays before update or delete on switchyard_journal.box
    for each row execute function switchyard_journal.refuse();
