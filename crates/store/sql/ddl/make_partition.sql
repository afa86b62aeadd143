-- A day of events. It is filled from the default partition before it is attached, which takes no lock that acceptance
-- needs (CREATE TABLE … PARTITION OF would). {name}, {first} and {next} come from missing_partitions.sql.
CREATE TABLE {name} (LIKE event INCLUDING ALL EXCLUDING INDEXES);
WITH moved AS (DELETE FROM event_default WHERE at >= '{first}' AND at < '{next}' RETURNING *)
INSERT INTO {name} SELECT * FROM moved;
ALTER TABLE event ATTACH PARTITION {name} FOR VALUES FROM ('{first}') TO ('{next}');
