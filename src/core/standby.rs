//! Reads what `synchronous_standby_names` names. Pure.

/// The names in such a setting, in order, `*` included: `FIRST 2 (a, "b c")`, `ANY 1 (a, b)`, `2 (a, b)` or `a, b`.
pub fn standby_names(setting: &str) -> Vec<String> {
    let listed = match (setting.find('('), setting.find('"')) {
        (Some(parenthesis), quote) if quote.is_none_or(|quote| parenthesis < quote) => &setting[parenthesis + 1..],
        _ => setting,
    };
    let mut names = Vec::new();
    let mut rest = listed.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '"' => {
                let mut name = String::new();
                while let Some(inside) = rest.next() {
                    // Twice is a quote inside the name.
                    if inside == '"' && rest.next_if_eq(&'"').is_none() {
                        break;
                    }
                    name.push(inside);
                }
                names.push(name);
            }
            _ if next.is_whitespace() || matches!(next, ',' | ')') => (),
            _ => {
                let mut name = String::from(next);
                while let Some(more) = rest.next_if(|more| !more.is_whitespace() && !matches!(more, ',' | ')' | '"')) {
                    name.push(more);
                }
                names.push(name);
            }
        }
    }
    names
}
