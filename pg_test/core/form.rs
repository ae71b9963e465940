//! Forms: every kind of value, and what is said about one that does not fit.

use crate::core::form::{Field, Kind, mistake};
use serde_json::{Value, json};

fn field(name: &str, kind: Kind, required: bool) -> Field {
    let choices = ["a", "b"].map(str::to_owned).to_vec();
    Field { name: name.to_owned(), kind, required, choices }
}

fn says(fields: &[Field], form: Value) -> Option<String> {
    mistake(fields, form.as_object().expect("an object"))
}

#[test]
fn the_first_missing_field_is_named() {
    let fields = [field("who", Kind::Role, true), field("note", Kind::Text, false), field("why", Kind::Text, true)];
    assert_eq!(says(&fields, json!({})).unwrap(), "field \"who\" is missing");
    assert_eq!(says(&fields, json!({"who": "x", "note": null})).unwrap(), "field \"why\" is missing");
    assert_eq!(says(&fields, json!({"who": null, "why": "x"})).unwrap(), "field \"who\" is missing");
    assert_eq!(says(&fields, json!({"who": "x", "why": " "})).unwrap(), "field \"why\" is empty");
    assert_eq!(says(&fields, json!({"form": "f", "who": "x", "why": "y"})), None);
}

#[test]
fn a_field_that_nobody_reads_is_refused() {
    let fields = [field("who", Kind::Text, true)];
    let stray = says(&fields, json!({"who": "x", "untill": "2027"})).unwrap();
    assert_eq!(stray, "there is no field \"untill\"; fields are who");
}

#[test]
fn every_kind_takes_its_own_values_only() {
    let values = [
        json!("a"),
        json!(7),
        json!(true),
        json!(["a", "b"]),
        json!({}),
        json!(-1),
        json!(1.5),
        json!("c"),
        json!([]),
        json!(["a", 1]),
    ];
    let fits = |kind: Kind| {
        let fields = [field("f", kind, true)];
        let fitting = |value: &&Value| says(&fields, json!({ "f": value })).is_none();
        values.iter().filter(fitting).map(Value::to_string).collect::<Vec<_>>()
    };
    for kind in [Kind::Text, Kind::Role, Kind::Person, Kind::Timestamp] {
        assert_eq!(fits(kind), [r#""a""#, r#""c""#], "{kind:?}");
    }
    assert_eq!(fits(Kind::Roles), [r#""a""#, r#"["a","b"]"#, r#""c""#]);
    assert_eq!(fits(Kind::Count), ["7"]);
    assert_eq!(fits(Kind::Boolean), ["true"]);
    assert_eq!(fits(Kind::Choice), [r#""a""#]);
    assert_eq!(fits(Kind::Choices), [r#"["a","b"]"#]);
}
