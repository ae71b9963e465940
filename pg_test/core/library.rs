//! Libraries are found as the server finds them.

use crate::core::library::{line, listed, loaded_after, resolve, with_last};

const HOME: &str = "/usr/lib/server";

/// The file behind a name where only these are.
fn found(name: &str, path: &str, files: &[&str]) -> Option<String> {
    resolve(name, path, HOME, |file| files.contains(&file))
}

#[test]
fn names_are_listed_as_the_server_reads_them() {
    assert_eq!(listed(" a , \"b\",'c',,a, \"d,\"\"e\" ,/f/g.so"), ["a", "b", "'c'", "d,\"e", "/f/g.so"]);
    assert!(listed("").is_empty() && listed(" , ").is_empty());
}

#[test]
fn a_plain_name_is_looked_for_on_the_path() {
    let path = "/opt/extra/:$libdir/more:$libdir";
    let files = ["/opt/extra/one.so", "/usr/lib/server/one.so", "/usr/lib/server/more/two.so", "/usr/lib/server/three"];
    assert_eq!(found("one", path, &files).as_deref(), Some("/opt/extra/one.so"), "the first on the path");
    assert_eq!(found("two", path, &files).as_deref(), Some("/usr/lib/server/more/two.so"));
    assert_eq!(found("three", path, &files).as_deref(), Some("/usr/lib/server/three"), "without a suffix first");
    assert_eq!(found("one.so", "$libdir", &files).as_deref(), Some("/usr/lib/server/one.so"));
    assert_eq!(found("four", path, &files), None);
    // No place that the server looks at: nowhere, here, and a name that stands for nothing.
    assert_eq!(found("one", "", &["one", "one.so"]), None);
    assert_eq!(
        found("one", "here:$other:$libdirs", &["here/one.so", "$other/one.so", "/usr/lib/servers/one.so"]),
        None
    );
}

#[test]
fn a_name_with_a_directory_is_not_looked_for_on_the_path() {
    let path = "/opt";
    assert_eq!(
        found("$libdir/a", path, &["/usr/lib/server/a.so", "/opt/a.so"]).as_deref(),
        Some("/usr/lib/server/a.so")
    );
    assert_eq!(found("/x/a", path, &["/x/a.so"]).as_deref(), Some("/x/a.so"));
    assert_eq!(found("/x/a.so", path, &["/x/a.so", "/x/a.so.so"]).as_deref(), Some("/x/a.so"));
    // Relative to the data directory.
    assert_eq!(found("plugins/a", path, &["plugins/a.so", "/opt/plugins/a.so"]).as_deref(), Some("plugins/a.so"));
    assert_eq!(found("plugins/a", path, &["/opt/plugins/a.so", "/usr/lib/server/plugins/a.so"]), None);
}

#[test]
fn what_is_loaded_after_a_library_is_known_by_any_name_of_it() {
    for own in ["own", "$libdir/own", "/opt/own.so", "\"own\""] {
        assert_eq!(loaded_after(&format!("a, {own}, own, b.so,\"c d\""), "own"), ["b.so", "c d"], "{own}");
    }
    assert!(loaded_after("a, b, own", "own").is_empty() && loaded_after("a, b", "own").is_empty());
}

#[test]
fn a_list_that_ends_in_a_library_keeps_the_others() {
    assert_eq!(line(&with_last("", &[], "own")), "'own'");
    assert_eq!(
        line(&with_last("own,$libdir/a, \"b c\",\"d'\"\"\"", &[], "own")),
        "'$libdir/a, \"b c\", \"d''\"\"\", own'"
    );
    assert_eq!(line(&with_last("a,own", &["a", "b"], "own")), "'a, b, own'");
}
