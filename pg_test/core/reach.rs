//! What a script reaches: every name that occurs, in whatever form.

use crate::core::reach::{Object, reached};
use proptest::prelude::*;

fn object(name: &str, text: &str) -> Object {
    Object { name: name.to_owned(), text: text.to_owned() }
}

#[test]
fn names_lead_on_to_what_they_mention() {
    let objects = [
        object("a", "CREATE FUNCTION app.a() AS 'SELECT app.b()'"),
        object("b", "BEGIN PERFORM c(1); END"),
        object("c", "SELECT a()"),
        object("d", "SELECT a()"),
    ];
    assert_eq!(reached("SELECT app.a()", &objects), [0, 1, 2]);
    assert_eq!(reached("SELECT app.d()", &objects), [0, 1, 2, 3]);
    assert_eq!(reached("SELECT 1", &objects), Vec::<usize>::new());
}

#[test]
fn a_name_is_a_whole_word_in_any_case_or_quotes() {
    let objects =
        [object("Move", ""), object("move_all", ""), object("学生", ""), object("odd name", ""), object("q\"q", "")];
    assert_eq!(reached("select APP.MOVE(1)", &objects), [0]);
    assert_eq!(reached("select app.\"Move\"(1)", &objects), [0]);
    assert_eq!(reached("select move_all$(1)", &objects), Vec::<usize>::new());
    assert_eq!(reached("UPDATE app.学生 SET n = 1", &objects), [2]);
    assert_eq!(reached("SELECT \"odd name\"(), \"q\"\"q\"()", &objects), [3, 4]);
}

#[test]
fn names_in_strings_and_comments_count_too() {
    let objects = [object("helper", "")];
    assert_eq!(reached("DO $$ BEGIN EXECUTE 'SELECT app.helper()'; END $$", &objects), [0]);
    assert_eq!(reached("SELECT 1 -- helper", &objects), [0]);
}

#[test]
fn what_has_no_name_is_always_reached() {
    let objects = [object("", "ddl_command_end app.guard"), object("guard", "")];
    assert_eq!(reached("SELECT 1", &objects), [0, 1]);
}

/// The escapes could spell any name.
#[test]
fn a_name_in_escapes_reaches_everything() {
    let objects = [object("helper", ""), object("odd name", ""), object("other", "")];
    assert_eq!(reached("SELECT app.U&\"\\0068elper\"()", &objects), [0, 1, 2]);
    assert_eq!(reached("SELECT app.u&\"!0068elper\" UESCAPE '!'", &objects), [0, 1, 2]);
    assert_eq!(reached("SELECT 'u & \"'", &objects), Vec::<usize>::new());
}

#[test]
fn operators_are_names() {
    let objects = [object("===", "operator app.=== same"), object("same", "")];
    assert_eq!(reached("SELECT 1 OPERATOR(app.===) 2", &objects), [0, 1]);
}

proptest! {
    /// Whatever the graph, the result is closed: nothing that a reached text mentions is left out, nothing else is in.
    #[test]
    fn the_result_is_exactly_the_closure(edges in prop::collection::vec((0usize..12, 0usize..12), 0..30), start in 0usize..12) {
        let text = |from: usize| edges.iter().filter(|(a, _)| *a == from).map(|(_, b)| format!("n{b} ")).collect::<String>();
        let objects: Vec<Object> = (0..12).map(|index| object(&format!("N{index}"), &text(index))).collect();
        let mut expected = vec![start];
        let mut at = 0;
        while at < expected.len() {
            let here = expected[at];
            for (_, to) in edges.iter().filter(|(from, _)| *from == here) {
                if !expected.contains(to) {
                    expected.push(*to);
                }
            }
            at += 1;
        }
        expected.sort_unstable();
        prop_assert_eq!(reached(&format!("SELECT n{start}"), &objects), expected);
    }
}
