//! A small governed schema, undone with each test's transaction.

use pgrx::prelude::*;

/// Tables `app.student` (classes on two columns), `app.guardian` (cascades), `app.payment` (partitioned); unprotected
/// `app.scratch`.
pub fn school() {
    Spi::run(
        "CREATE SCHEMA app;
         CREATE TABLE app.student (id int PRIMARY KEY, name text, phone text, id_card text UNIQUE, address text);
         CREATE TABLE app.guardian (id int PRIMARY KEY, student int REFERENCES app.student ON DELETE CASCADE);
         CREATE TABLE app.payment (id int, day date, amount int) PARTITION BY RANGE (day);
         CREATE TABLE app.payment_01 PARTITION OF app.payment FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
         CREATE TABLE app.scratch (id int);
         CREATE VIEW app.names AS SELECT id, name FROM app.student;
         CREATE FUNCTION app.touch() RETURNS int LANGUAGE plpgsql AS 'BEGIN UPDATE app.student SET phone = phone; RETURN 1; END';
         SECURITY LABEL FOR pg_steward ON COLUMN app.student.id_card IS 'id_card';
         SECURITY LABEL FOR pg_steward ON COLUMN app.student.address IS 'address';
         SELECT steward.protect('app.student'), steward.protect('app.guardian'), steward.protect('app.payment');",
    )
    .expect("the fixture loads");
}

/// The rows of a query as text, columns joined by `|`.
pub fn lines(query: &str) -> Vec<String> {
    Spi::connect(|client| {
        let rows = client.select(query, None, &[]).expect("the query runs");
        rows.map(|row| {
            (1..=row.columns())
                .map(|column| row.get::<String>(column).expect("a text column").unwrap_or_default())
                .collect::<Vec<_>>()
                .join("|")
        })
        .collect()
    })
}
