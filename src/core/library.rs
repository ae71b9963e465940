//! Which file the server loads for the name of a library: what `shared_preload_libraries` and `dynamic_library_path` say, as
//! dfmgr.c reads them. Pure: whether there is a file is asked of the caller.

const SUFFIX: &str = ".so";
const HOME: &str = "$libdir";

/// The names in a list like that of `shared_preload_libraries`, each once, in their order: separated by commas, without
/// the blanks and quotes around them.
pub fn listed(list: &str) -> Vec<String> {
    let (mut names, mut name, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = list.chars().peekable();
    let mut end = |name: &mut String| {
        let found = std::mem::take(name).trim().to_owned();
        if !found.is_empty() && !names.contains(&found) {
            names.push(found);
        }
    };
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => name.extend(characters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => end(&mut name),
            _ => name.push(character),
        }
    }
    end(&mut name);
    names
}

/// The libraries of a list that are loaded after one.
pub fn loaded_after(list: &str, library: &str) -> Vec<String> {
    let mut names = listed(list).into_iter().skip_while(|name| !is(name, library));
    names.next();
    names.filter(|name| !is(name, library)).collect()
}

/// The libraries of a list and these, with one at their end.
pub fn with_last(list: &str, more: &[&str], library: &str) -> Vec<String> {
    let mut names = listed(list);
    names.retain(|name| !is(name, library));
    let new: Vec<&str> = more.iter().copied().filter(|new| !names.iter().any(|name| is(name, new))).collect();
    names.extend(new.into_iter().chain([library]).map(str::to_owned));
    names
}

/// Names as a list for postgresql.conf, quoted as a value there.
pub fn line(names: &[String]) -> String {
    let plain = |name: &str| !name.contains([',', '"']) && !name.contains(char::is_whitespace);
    let names = names.iter().map(|name| match plain(name) {
        true => name.clone(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    });
    format!("'{}'", names.collect::<Vec<_>>().join(", ").replace('\'', "''"))
}

/// Whether a name, with or without its directory and suffix, is this library's.
fn is(name: &str, library: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.strip_suffix(SUFFIX).unwrap_or(file) == library
}

/// The file behind a name, given the path on which names without a directory are looked for, and the server's own
/// directory; None if there is none.
pub fn resolve(name: &str, path: &str, home: &str, is_file: impl Fn(&str) -> bool) -> Option<String> {
    let with_suffix = format!("{name}{SUFFIX}");
    [name, &with_suffix].into_iter().find_map(|name| {
        if name.contains('/') {
            return expand(name, home).filter(|file| is_file(file));
        }
        let directories = path.split(':').filter_map(|directory| expand(directory, home));
        let absolute = directories.filter(|directory| directory.starts_with('/'));
        absolute.map(|directory| format!("{}/{name}", directory.trim_end_matches('/'))).find(|file| is_file(file))
    })
}

/// With the server's own directory in the place of its name, which is the only one that begins with a dollar.
fn expand(name: &str, home: &str) -> Option<String> {
    if !name.starts_with('$') {
        return Some(name.to_owned());
    }
    let rest = name.strip_prefix(HOME)?;
    (rest.is_empty() || rest.starts_with('/')).then(|| format!("{home}{rest}"))
}
