//! Columns that the form `export` lists.

use crate::core::export::Columns;

#[test]
fn columns_are_listed_by_name() {
    let columns = Columns::parse("id, student.phone，app.student.name、\"odd\"").expect("a list");
    for (relation, column, listed) in [
        ("app.student", "id", true),
        ("app.guardian", "id", true),
        ("app.student", "phone", true),
        ("app.guardian", "phone", false),
        ("app.student", "name", true),
        ("other.student", "name", false),
        ("app.student", "xid", false),
        ("app.student", "d", false),
        ("app.student", "one", false),
        ("app.student", "id_card", false),
        ("app.student", "*", false),
    ] {
        assert_eq!(columns.list(relation, column), listed, "{relation}.{column}");
    }
}

#[test]
fn nothing_lists_everything() {
    for text in ["*", "all", "app.student.*", "%", "student"] {
        let columns = Columns::parse(text).expect("a list");
        assert!(!columns.list("app.student", "phone"), "{text}");
    }
    assert_eq!(Columns::parse(" , ，\n"), None);
}
