-- What people send and what is sent to them: rows that wait. Nothing here is an event, and nobody audits it.

create table inbox (
    -- In the order of arrival; never used again.
    id integer primary key autoincrement,
    -- The platform's own name of the delivery, where it has one: the same when it delivers again.
    transport_key text unique check (length(transport_key) between 1 and 300),
    -- What is meant, however it came: the id of the command that is appended for it.
    meaning_key text not null unique check (length(meaning_key) between 1 and 180),
    platform text not null check (platform in ('github', 'slack', 'discord')),
    kind text not null check (length(kind) between 1 and 40),
    body text not null,
    -- Times are milliseconds since 1970-01-01 UTC.
    received_at integer not null,
    taken_by text check (length(taken_by) between 1 and 200),
    -- From that instant on anybody may take it.
    taken_until integer not null default 0,
    -- Raised by each taking: who took it before cannot finish it any more.
    tries integer not null default 0,
    finished_at integer
) strict;

create index inbox_waiting on inbox (id) where finished_at is null;

create table outbox (
    id integer primary key autoincrement,
    platform text not null check (platform in ('github', 'slack', 'discord')),
    destination text not null,
    -- Rows of one destination and one such key are states of one message, the newest of which counts.
    living text check (length(living) between 1 and 200),
    -- The higher leaves first.
    priority integer not null,
    body text not null,
    written_at integer not null,
    due_at integer not null,
    taken_by text check (length(taken_by) between 1 and 200),
    taken_until integer not null default 0,
    attempts integer not null default 0,
    -- Sent, under the platform's id of the message; or given up, because of the last error. Neither: it waits.
    sent_at integer,
    message_id text,
    given_up_at integer,
    last_error text
) strict;

create index outbox_waiting on outbox (platform, id) where sent_at is null and given_up_at is null;
create index outbox_living on outbox (destination, living, id) where living is not null;
