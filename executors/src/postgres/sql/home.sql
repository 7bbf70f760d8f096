-- Switchyard's own schema on a migrated database. Never in a publication. One row a phase in gate; receipts carry
-- the effect that wrote them, in that effect's own transaction. Idempotent: every executor may run it.
create schema if not exists _switchyard;

-- Who may write the phase here, the highest epoch seen and the position of the highest intent applied.
-- A missing row means closed.
create table if not exists _switchyard.gate (
  migration text not null,
  phase text not null,
  mode text not null check (mode in ('open', 'closed')),
  epoch bigint not null check (epoch >= 0),
  position bigint not null check (position >= 0),
  effect text not null,
  changed_at timestamptz not null default clock_timestamp(),
  primary key (migration, phase)
);

-- What an effect left here. evidence is a JSON object of strings.
create table if not exists _switchyard.receipt (
  effect text primary key,
  migration text not null,
  phase text not null,
  label text not null,
  epoch bigint not null,
  position bigint not null,
  evidence text not null,
  written_at timestamptz not null default clock_timestamp()
);

-- On the target. The plan of a table's load (end_block null is the open end), and what was copied (rows null: not yet;
-- filled: under a later snapshot than the slot's, beside rows that the stream had brought).
create table if not exists _switchyard.chunk (
  migration text not null,
  phase text not null,
  generation bigint not null,
  table_name text not null,
  ordinal integer not null,
  first_block bigint not null,
  end_block bigint,
  relfilenode bigint not null,
  snapshot_lsn pg_lsn,
  rows bigint,
  hash text,
  filled boolean not null default false,
  epoch bigint not null,
  primary key (migration, phase, generation, table_name, ordinal)
);

-- On the side a stream writes: its checkpoint, its mode, and the epoch that may move it.
create table if not exists _switchyard.stream (
  migration text not null,
  phase text not null,
  direction text not null check (direction in ('forward', 'failback')),
  lane integer not null default 0,
  mode text not null check (mode in ('apply', 'guard')),
  epoch bigint not null,
  position bigint not null,
  effect text not null,
  lsn pg_lsn not null,
  source_committed_at timestamptz,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (migration, phase, direction, lane)
);

-- On the side a stream writes: the markers it has committed.
create table if not exists _switchyard.marker (
  migration text not null,
  phase text not null,
  direction text not null,
  nonce text not null,
  lsn pg_lsn not null,
  seen_at timestamptz not null default clock_timestamp(),
  primary key (migration, phase, direction, nonce)
);

-- On the side a stream writes: keys that it has changed, or whose fence was breached, since the last proof of their
-- table. key is a JSON array of the key's values as text, in key order; one that is too long for an index stands in
-- long_key, and its digest in its place. lsn is a place in the stream's own log.
create table if not exists _switchyard.changed (
  migration text not null,
  phase text not null,
  direction text not null,
  table_name text not null,
  key text not null,
  lsn pg_lsn not null,
  long_key text,
  primary key (migration, phase, direction, table_name, key)
);

-- A home of an earlier version. The table is locked for it only then.
do $$ begin
  if not exists (select from pg_catalog.pg_attribute
                 where attrelid = '_switchyard.changed'::pg_catalog.regclass and attname = 'long_key') then
    alter table _switchyard.changed add column long_key text;
  end if;
end $$;

-- On the side a guarding stream writes: what no fence should have let through.
create table if not exists _switchyard.breach (
  migration text not null,
  phase text not null,
  direction text not null,
  lsn pg_lsn not null,
  table_name text not null,
  changes bigint not null,
  seen_at timestamptz not null default clock_timestamp(),
  primary key (migration, phase, direction, lsn, table_name)
);
