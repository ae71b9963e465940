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
        // Images are named with their table.
        ("steward.image_5", "id", false),
        ("steward.row_image", "id", false),
    ] {
        assert_eq!(columns.list(relation, column), listed, "{relation}.{column}");
    }
}

#[test]
fn images_are_listed_with_their_table() {
    let columns = Columns::parse("steward.image_5.phone, row_image.new_values").expect("a list");
    assert!(columns.list("steward.image_5", "phone") && columns.list("steward.row_image", "new_values"));
    assert!(!columns.list("steward.image_6", "phone") && !columns.list("app.student", "phone"));
}

#[test]
fn nothing_lists_everything() {
    for text in ["*", "all", "app.student.*", "%", "student"] {
        let columns = Columns::parse(text).expect("a list");
        assert!(!columns.list("app.student", "phone"), "{text}");
    }
    assert_eq!(Columns::parse(" , ，\n"), None);
}
