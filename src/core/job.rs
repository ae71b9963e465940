//! What the jobs need that needs no database: whether a schedule is one, and what may be kept of a failure. Pure.

/// Fields of a schedule, each with its lowest and highest number.
const FIELDS: [(u32, u32); 5] = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)];
/// Longest failure that is kept, characters.
const KEPT: usize = 500;

/// Whether every scheduler reads this schedule, and reads it alike: minute, hour, day of the month, month and day of the
/// week, each a list of `*`, numbers and ranges, with a step where it is no single number. No names, no `@daily`.
pub fn is_schedule(schedule: &str) -> bool {
    let fields: Vec<&str> = schedule.split(' ').collect();
    fields.len() == FIELDS.len() && fields.iter().zip(FIELDS).all(|(field, bounds)| is_field(field, bounds))
}

fn is_field(field: &str, (low, high): (u32, u32)) -> bool {
    let number = |text: &str| {
        let short = (1..=2).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit());
        text.parse::<u32>().ok().filter(|_| short)
    };
    let inside = |text: &str| number(text).filter(|number| (low..=high).contains(number));
    field.split(',').all(|part| {
        let (span, step) = match part.split_once('/') {
            Some((span, step)) => (span, Some(step)),
            None => (part, None),
        };
        let step_fits = step.is_none_or(|step| number(step).is_some_and(|step| (1..=high).contains(&step)));
        let span_fits = match span.split_once('-') {
            Some((from, to)) => inside(from).zip(inside(to)).is_some_and(|(from, to)| from <= to),
            None => span == "*" || step.is_none() && inside(span).is_some(),
        };
        span_fits && step_fits
    })
}

/// An error's message without what it quotes, which may be a value of somebody's data; and not endless.
pub fn without_quoted(message: &str) -> String {
    let mut kept = String::new();
    let mut open: Option<char> = None;
    for character in message.chars() {
        match (open, character) {
            (Some(quote), _) if character == quote => {
                open = None;
                kept.push(character);
            }
            (Some(_), _) => {}
            (None, '"' | '\'') => {
                open = Some(character);
                kept.push(character);
                kept.push('…');
            }
            (None, _) => kept.push(character),
        }
    }
    kept.chars().take(KEPT).collect()
}
