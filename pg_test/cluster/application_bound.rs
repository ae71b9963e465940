//! An application whose driver binds parameters at the server (SQLAlchemy's asyncio over asyncpg) and prepares every
//! statement: masks and scopes hold in plans that are kept, for one login as for another. The application is
//! `pg_test/application/desk_async.py`; its sibling over psycopg2, which sends finished texts, is tested in `application`.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::cluster::{Cluster, succeed};
use crate::school::{HOME, ask};
use crate::traffic::{chain_verifies, platform_with, records};

tests! {
    an_orm_that_prepares_its_statements_shows_masks_and_writes_back_none,
}

/// As in `application`: a teacher of school 1, with the floor of privileges beneath.
const MASKS: &str = "SELECT steward.set_mask('ecard_teacher', class) FROM unnest('{name,id_card,phone,address,guardian_contact}'::text[]) class;
    SELECT steward.set_mask('ecard_teacher', 'birth_date', 'generalize');
    SELECT count(*) FROM steward.apply();";

#[track_caller]
fn plays(cluster: &Cluster, login: &str, scene: &str) -> Value {
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo tells where the crate is");
    let url = format!("postgresql+asyncpg://{login}@/{HOME}?host={}&port=5432", cluster.file("").display());
    let mut python = Command::new("/usr/bin/python3");
    python.arg(PathBuf::from(root).join("pg_test/application/desk_async.py")).args([&url, scene]);
    serde_json::from_str(&succeed(python)).expect("a line of JSON")
}

/// The rows of one part of an answer.
#[track_caller]
fn rows<'v>(answer: &'v Value, part: &str) -> Vec<Vec<&'v str>> {
    let list = answer[part].as_array().unwrap_or_else(|| panic!("no {part}: {answer}"));
    assert!(!list.is_empty(), "{part}: {answer}");
    list.iter().map(|row| row.as_array().expect("a row").iter().filter_map(Value::as_str).collect()).collect()
}

fn an_orm_that_prepares_its_statements_shows_masks_and_writes_back_none() {
    let (cluster, mut superuser) = platform_with(&format!("{}{MASKS}", crate::scope::posts::scopes()));
    let kept = "SELECT string_agg(concat_ws(' ', student_id, name, phone, id_card, address, birth_date), '; ' ORDER BY student_id)
        FROM app.student WHERE student_id BETWEEN 20 AND 30";
    let before: String = ask(&mut superuser, kept);

    let seen = plays(&cluster, "teacher_wang", "desk");
    // Each round, the last ones by a generic plan.
    for row in rows(&seen, "rounds") {
        let [name, phone, id_card] = row[..] else { panic!("{row:?}") };
        assert!(name.ends_with("**") && phone.contains("****") && id_card.trim_end().ends_with("****"), "{row:?}");
    }
    for row in [rows(&seen, "guardians"), rows(&seen, "joined")].concat() {
        assert!(row[0].ends_with("**") && row[1].contains("****"), "{row:?}");
    }
    for (number, row) in rows(&seen, "returned").into_iter().enumerate() {
        assert_eq!(row, [format!("177****042{number}").as_str(), "2015-09-01"]);
    }
    assert_eq!(seen["changed"], "177****0430");
    assert_eq!(
        (&seen["counted"], &seen["found"]),
        (&512.into(), &0.into()),
        "the own school, and no question by number"
    );
    assert_eq!(seen["elsewhere"], true);
    assert_eq!(seen["copied"][0], "42501");
    assert!(seen["copied"][1].as_str().is_some_and(|text| text.contains("would store a mask")), "{seen}");
    assert!(seen["statements"].as_i64() > Some(5), "statements are prepared: {seen}");

    // The service, whose pool the same statements go through, sees values.
    let service = plays(&cluster, "app_service", "pool");
    assert!(service["statements"].as_i64() > Some(0), "{service}");
    assert!(rows(&service, "rounds").concat().iter().all(|value| !value.contains('*')), "{service}");

    superuser = cluster.connect("postgres", HOME);
    assert_eq!(ask::<String>(&mut superuser, kept), before, "what was loaded and written back is what it was");
    let moved = "SELECT count(*) FROM app.student WHERE student_id IN (20, 21) AND class_no = 9";
    assert_eq!(ask::<i64>(&mut superuser, moved), 2);
    let enrolled =
        "SELECT count(*) FROM app.student WHERE phone LIKE '177126204__' AND id_card LIKE '32058320160418944_'";
    assert_eq!(ask::<i64>(&mut superuser, enrolled), 8);
    // Who did what, with placeholders in the place of values.
    let read = "operation_type = 'SELECT' AND 'app.student' = ANY (relations) AND statement LIKE '%$1%'";
    assert!(records(&mut superuser, &format!("{read} AND user_id = 'teacher_wang'")) > 0);
    assert!(records(&mut superuser, &format!("{read} AND user_id = 'app_service'")) > 0);
    assert_eq!(records(&mut superuser, "concat(statement, details) LIKE '%1771262042%'"), 0);
    chain_verifies(&mut superuser);
}
