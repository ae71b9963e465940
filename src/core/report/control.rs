//! Control points of an assessment as data: a text of entries, each a few lines of comment and the query that answers it.
//!
//! ```text
//! -- code: L3-CES1-02
//! -- clause: 8.1.4.1 b
//! -- zh: 登录失败处理、连接超时退出
//! -- en: failed logins, sessions that were left
//! -- high risk
//! SELECT verdict, facts …
//! ```
//!
//! An entry without a query is one that only people can answer.

/// One control point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    pub code: String,
    pub clause: String,
    pub zh: String,
    pub en: String,
    /// Failing it fails the assessment.
    pub high_risk: bool,
    /// One row: verdict, facts. Empty: nothing to ask.
    pub query: String,
}

/// What a query may say; whoever cannot be asked has a verdict of their own.
pub const VERDICTS: [&str; 5] = ["conforms", "partly", "fails", "not_applicable", "unknown"];

/// The entries of a text, in their order. Lines before the first belong to none.
pub fn controls(text: &str) -> Vec<Control> {
    let mut controls: Vec<Control> = Vec::new();
    for line in text.lines() {
        if let Some(code) = line.strip_prefix("-- code: ") {
            controls.push(Control { code: code.to_owned(), ..Control::default() });
            continue;
        }
        let Some(control) = controls.last_mut() else { continue };
        if let Some(clause) = line.strip_prefix("-- clause: ") {
            clause.clone_into(&mut control.clause);
        } else if let Some(zh) = line.strip_prefix("-- zh: ") {
            zh.clone_into(&mut control.zh);
        } else if let Some(en) = line.strip_prefix("-- en: ") {
            en.clone_into(&mut control.en);
        } else if line == "-- high risk" {
            control.high_risk = true;
        } else {
            control.query.push_str(line);
            control.query.push('\n');
        }
    }
    for control in &mut controls {
        control.query = control.query.trim().trim_end_matches(';').to_owned();
    }
    controls
}
