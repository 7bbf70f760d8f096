-- How far a reader of the journal has come whose messages stand in the outbox: both are written in one transaction, so
-- that each event is told of once.

create table watermark (
    reader text not null primary key check (length(reader) between 1 and 100),
    position integer not null check (position >= 0)
) strict, without rowid;

create trigger watermark_grows before update on watermark
when new.position < old.position
begin
    select raise(abort, 'a watermark never falls');
end;
