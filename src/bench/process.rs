//! What a process and its children use, read from `/proc` (proc(5)).

use std::collections::BTreeMap;
use std::fs;

/// `/proc` counts in hundredths of a second on every Linux (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// At one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    /// User and system, of all threads that ever were.
    pub cpu_s: f64,
    pub rss_mib: f64,
    pub threads: usize,
    /// Of the threads that live, by number: their role and what they used.
    live: BTreeMap<String, (String, f64)>,
}

impl Usage {
    /// Of `pid` and all below it. A process that ends while it is read counts as nothing.
    pub(super) fn of(pid: u32) -> Self {
        let mut usage = Self::default();
        let mut pids = vec![pid];
        while let Some(pid) = pids.pop() {
            let process = format!("/proc/{pid}");
            usage.cpu_s += stat(&process).map_or(0.0, |(_, cpu_s)| cpu_s);
            usage.rss_mib += rss_mib(&process);
            for thread in fs::read_dir(format!("{process}/task")).into_iter().flatten().flatten() {
                let thread = thread.path().display().to_string();
                if let Some((name, cpu_s)) = stat(&thread) {
                    usage.threads += 1;
                    usage.live.insert(thread.clone(), (role(&name).to_owned(), cpu_s));
                }
                let children = fs::read_to_string(format!("{thread}/children")).unwrap_or_default();
                pids.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            }
        }
        usage
    }

    /// CPU seconds since `earlier` by role, of the threads that still live.
    pub(super) fn by_role_since(&self, earlier: &Self) -> BTreeMap<String, f64> {
        let mut roles = BTreeMap::new();
        for (thread, (role, cpu_s)) in &self.live {
            let before = earlier.live.get(thread).map_or(0.0, |(_, cpu_s)| *cpu_s);
            *roles.entry(role.clone()).or_default() += cpu_s - before;
        }
        roles
    }
}

/// Name and CPU seconds. The name stands in parentheses and may hold any character.
fn stat(of: &str) -> Option<(String, f64)> {
    let stat = fs::read_to_string(format!("{of}/stat")).ok()?;
    let (head, fields) = stat.rsplit_once(") ")?;
    let name = head.split_once(" (")?.1.to_owned();
    // utime and stime: fields 14 and 15, where the first after the name is field 3.
    let ticks: f64 = fields.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    Some((name, ticks / TICKS_PER_SECOND))
}

fn rss_mib(process: &str) -> f64 {
    let status = fs::read_to_string(format!("{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).map_or(0.0, |kib| kib / 1024.0)
}

/// `render-3f2a` is `render`.
fn role(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((role, id)) if id.chars().all(|c| c.is_ascii_hexdigit()) => role,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_a_kind_count_together() {
        assert_eq!(["render-3f2a", "encode-0a", "tokio-rt-worker"].map(role), ["render", "encode", "tokio-rt-worker"]);
    }

    #[test]
    fn a_thread_that_ended_takes_nothing_from_those_that_live() {
        let usage = |threads: &[(&str, f64)]| Usage {
            live: threads.iter().map(|(id, cpu_s)| ((*id).to_owned(), ("render".to_owned(), *cpu_s))).collect(),
            ..Usage::default()
        };
        let since = usage(&[("1", 3.0), ("3", 0.5)]).by_role_since(&usage(&[("1", 1.0), ("2", 9.0)]));
        assert_eq!(since.into_values().collect::<Vec<_>>(), [2.5]);
    }

    #[test]
    fn this_very_process_uses_memory_and_has_a_thread() {
        let usage = Usage::of(std::process::id());
        assert!(usage.rss_mib > 1.0 && usage.threads >= 1, "{usage:?}");
    }
}
