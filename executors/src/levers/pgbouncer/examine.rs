//! What a switch will need of a pgbouncer, looked at and tried while nothing is stopped.
//!
//! # The race
//!
//! A file that cannot be written, or that pgbouncer does not read, is found out by whoever needs it: in the window, with
//! the traffic held, and by the undo once more. So `prepare_switch` rehearses: it adds an entry of its own behind the one
//! that will be rewritten, says RELOAD, and waits until the console shows it; then it takes it away again. That proves
//! the path, the rights, the folder and that this is the file that is read, wherever pgbouncer runs and however the file is
//! included. An executor that dies in between leaves an entry that leads nowhere; the next rehearsal takes it away.
//!
//! Everything else only looks, and is looked at once more just before the stop.

use std::path::{Path, PathBuf};

use tokio_postgres::config::Host;

use super::{
    Acted, Cause, Client, EffectError, EffectSpec, Evidence, Examined, Finding, LOOK, PgbouncerLever, Place,
    PoisonError, Probe, RELOADED, Shown, Side, Standing, Step, Trouble, as_one, field, ini,
};
use crate::levers::does_not_answer;
use crate::postgres::meets::{Meets, meets};

impl PgbouncerLever {
    fn problem(&self, code: &str, (what, why): (&str, &str), remedy: &str) -> Finding {
        Finding { code: code.to_owned(), what: self.cause(what, why).0, remedy: remedy.to_owned() }
    }

    /// The probe of a look before the stop: everything is as a switch needs it, and has been rehearsed.
    pub(super) async fn probe_before(&self, spec: &EffectSpec, standing: Standing, shown: &Shown) -> Probe {
        let seen = self.look_around(shown).await;
        if let Some(finding) = as_one(seen.problems) {
            return Probe::Differs(finding);
        }
        let mut evidence = match standing.probe(spec) {
            Probe::Ours(evidence) => evidence,
            other => return other,
        };
        if !seen.warnings.is_empty() {
            evidence.insert("warnings".to_owned(), seen.warnings.join("; "));
        }
        if spec.step == Step::PrepareSwitch {
            let mut rehearsed = self.rehearsed.lock().unwrap_or_else(PoisonError::into_inner);
            match rehearsed.take() {
                // Told once: who asks again has mended something, and it is tried again.
                Some((id, Err(finding))) if id == spec.id => return Probe::Differs(finding),
                Some((id, Ok(found))) if id == spec.id => {
                    evidence.extend(found.clone());
                    *rehearsed = Some((id, Ok(found)));
                }
                _ => return Probe::Absent,
            }
        }
        Probe::Ours(evidence)
    }

    /// The probe of a route that the console shows already: the file, which a restart would read, must say so, too.
    pub(super) async fn probe_routed(&self, spec: &EffectSpec, standing: Standing) -> Probe {
        let is_undo = spec.step == Step::Undo;
        let given_up = {
            let unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
            unwritten.clone().filter(|(id, _)| *id == spec.id && is_undo)
        };
        let lacks = match self.filed().await {
            Ok(side) if side == standing.at => return standing.probe(spec),
            Ok(side) => format!("the file leads to the {side} at the next RELOAD or restart"),
            Err(cause) if is_undo => cause.0,
            Err(cause) => return Probe::Unreachable(cause),
        };
        // Nobody can write while this is not through, so a file that cannot be mended is not waited for.
        match (given_up, standing.probe(spec)) {
            (Some((_, why)), Probe::Ours(mut evidence)) => {
                evidence.insert("file".to_owned(), format!("{lacks}: {why}"));
                Probe::Ours(evidence)
            }
            _ => Probe::Absent,
        }
    }

    /// Everything that can be looked at, with the console's answer at hand.
    pub(super) async fn look_around(&self, shown: &Shown) -> Examined {
        let mut seen = Examined::default();
        if shown.pool_mode != "transaction" {
            let why =
                format!("it pools by {}, and a switch under it would break its clients", shown.pool_mode);
            let finding = self.problem(
                "SW-0512",
                ("cannot be held", &why),
                "Set pool_mode = transaction for it, or use another lever; then `retry`.",
            );
            seen.problems.push(("database", finding));
        }
        self.look_at_file(Some(shown), &mut seen).await;
        self.look_where(&mut seen).await;
        seen
    }

    /// What can be looked at without the console.
    pub(super) async fn look_without_console(&self, trouble: Trouble) -> Examined {
        let mut seen = Examined::default();
        seen.problems.push(match trouble {
            Trouble::Wrong(key, finding) => (key, finding),
            Trouble::Away(Cause(why)) => ("admin", does_not_answer(&self.settings.served.phase, &why)),
        });
        self.look_at_file(None, &mut seen).await;
        self.look_where(&mut seen).await;
        seen
    }

    /// The file: there, replaceable, with the entry as the console has it.
    async fn look_at_file(&self, shown: Option<&Shown>, seen: &mut Examined) {
        let (path, name) = (self.settings.ini.clone(), self.settings.database.clone());
        let looked =
            tokio::task::spawn_blocking(move || (ini::is_replaceable(&path), ini::entry(&path, &name))).await;
        let (replaceable, entry) =
            looked.unwrap_or_else(|error| (Err(error.to_string()), Err("not looked at".to_owned())));
        if let Err(why) = &replaceable {
            let finding = self.problem(
                "SW-0513",
                ("has a file that cannot be rewritten", why),
                "Let `ini` in the plan's [phase.lever] name the file that pgbouncer reads, as it is on the machine where the \
                 executor runs, and let the executor's user own it and write in its folder; then `retry`.",
            );
            seen.problems.push(("ini", finding));
        }
        match entry {
            // Said already: it cannot even be found.
            Err(_) if replaceable.is_err() => {}
            Err(why) => {
                let finding = self.problem(
                    "SW-0513",
                    ("has a file without an entry that could be rewritten", &why),
                    "Let `database` and `ini` in the plan's [phase.lever] name the entry and the file in which it stands; then \
                     `retry`.",
                );
                seen.problems.push(("database", finding));
            }
            Ok(pairs) => {
                let (filed, Some(shown)) = (Place::of(&pairs, &self.settings.database), shown) else {
                    return;
                };
                if filed != shown.place {
                    let why = format!("it says {filed}, and SHOW DATABASES says {}", shown.place);
                    let finding = self.problem(
                        "SW-0514",
                        ("has a file that is not as pgbouncer runs", &why),
                        "Either `ini` in the plan's [phase.lever] is not the file that this pgbouncer reads, or it was changed \
                         without a RELOAD. Mend that, then `retry`.",
                    );
                    seen.problems.push(("ini", finding));
                }
            }
        }
        if let Some(read) = shown.and_then(|shown| shown.conffile.as_deref()) {
            self.look_whose(read, seen).await;
        }
    }

    /// Whether the console speaks of this machine.
    fn is_here(&self) -> bool {
        self.console.config().get_hosts().iter().all(|host| match host {
            Host::Tcp(name) => is_loopback(name),
            Host::Unix(_) => true,
        })
    }

    /// The file that pgbouncer says it reads. Another machine's paths mean nothing here, and a file may include this one.
    async fn look_whose(&self, read: &str, seen: &mut Examined) {
        if !self.is_here() || !Path::new(read).is_absolute() {
            return;
        }
        let (read, ini) = (PathBuf::from(read), self.settings.ini.clone());
        let (theirs, ours) = (read.display().to_string(), ini.display().to_string());
        let another = tokio::task::spawn_blocking(move || {
            let (real, ini) = (read.canonicalize().ok()?, ini.canonicalize().ok()?);
            let text = std::fs::read_to_string(&real).ok()?;
            let includes = text.lines().any(|line| line.trim_start().starts_with("%include"));
            Some(real != ini && !includes)
        });
        if matches!(another.await, Ok(Some(true))) {
            let finding = self.problem(
                "SW-0514",
                ("reads another file", &format!("it reads {theirs}, and the plan says {ours}")),
                "`abort`, adopt a plan whose [phase.lever] names in `ini` the file that pgbouncer reads, and ask again.",
            );
            seen.problems.push(("ini", finding));
        }
    }

    /// Whether both connect strings lead to the plan's own databases.
    async fn look_where(&self, seen: &mut Examined) {
        let [source, target] = Side::ALL;
        let ((one, of_one), (other, of_other)) =
            futures::future::join(self.look_to(source), self.look_to(target)).await;
        seen.problems.extend(one.into_iter().chain(other));
        seen.warnings.extend(of_one.into_iter().chain(of_other));
    }

    /// Whether one of them does: a problem, or a warning.
    async fn look_to(&self, side: Side) -> (Option<(&'static str, Finding)>, Option<String>) {
        let Some(database) = self.settings.served.side(side) else { return (None, None) };
        let place = Place::of(self.pairs(side), &self.settings.database);
        let unseen = |why: &str| {
            format!(
                "whether the lever's `{side}` ({place}) leads to the plan's {side} cannot be told from here: {why}"
            )
        };
        let is_local = place.host.is_empty() || place.host.starts_with('/') || is_loopback(&place.host);
        let port = place.port.parse().ok();
        let came_to = match port {
            _ if is_local && !self.is_here() => {
                Meets::Unseen("it is an address of pgbouncer's own machine".to_owned())
            }
            Some(port) if !place.host.is_empty() && !place.host.contains(',') => {
                meets(database, &place.host, port, &place.database).await
            }
            _ => Meets::Unseen("it names no single host and port".to_owned()),
        };
        match came_to {
            Meets::Same => (None, None),
            Meets::Unseen(why) => (None, Some(unseen(&self.settings.served.scrubber.scrub(&why)))),
            Meets::Another(how) => {
                let what = format!("leads to another database than the plan's {side}");
                let finding = self.problem(
                    "SW-0515",
                    (&what, &format!("{place}: {how}")),
                    &format!(
                        "The lever's `{side}` and the plan's `{side}` must be one database: `abort`, adopt the corrected plan, and ask \
                         again."
                    ),
                );
                (Some((side.word(), finding)), None)
            }
        }
    }

    fn mark(&self) -> String {
        format!("_switchyard_rehearsal_{}", self.settings.served.phase)
    }

    /// Rewrites the file once there and back, and sees pgbouncer follow. Traffic is not touched by it.
    pub(super) async fn rehearse(&self, spec: &EffectSpec) -> Result<Acted, Cause> {
        let began = self.settings.served.clock.monotonic();
        let console = self.connect().await?;
        let (name, mark) = (self.settings.database.clone(), self.mark());
        let there =
            match self.mark_and_reload(&console, true, move |text| ini::marked(text, &name, &mark)).await {
                Ok(()) => Ok(()),
                Err(Trouble::Away(cause)) => Err(cause),
                Err(Trouble::Wrong(_, finding)) => {
                    self.remember(spec, Err(finding));
                    Ok(())
                }
            };
        // Whatever became of it, it is taken away again.
        let mark = self.mark();
        let back = self.mark_and_reload(&console, false, move |text| Ok(ini::unmarked(text, &mark))).await;
        there?;
        let has_failed = self.rehearsed.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        match back {
            _ if has_failed => {}
            Ok(()) => {
                let took = (self.settings.served.clock.monotonic() - began).as_millis().to_string();
                self.remember(spec, Ok(Evidence::from([("rehearsed_ms".to_owned(), took)])));
            }
            Err(Trouble::Away(cause)) => return Ok(Acted::Unknown(EffectError(cause.0))),
            Err(Trouble::Wrong(_, finding)) => self.remember(spec, Err(finding)),
        }
        Ok(Acted::Done(Evidence::new()))
    }

    fn remember(&self, spec: &EffectSpec, came_to: Result<Evidence, Finding>) {
        *self.rehearsed.lock().unwrap_or_else(PoisonError::into_inner) = Some((spec.id, came_to));
    }

    /// Changes the file, says RELOAD, and waits until the console shows the rehearsal's entry, or shows it no more.
    async fn mark_and_reload(
        &self,
        console: &Client,
        wanted: bool,
        change: impl FnOnce(&str) -> Result<String, String> + Send + 'static,
    ) -> Result<(), Trouble> {
        let path = self.settings.ini.clone();
        let written = tokio::task::spawn_blocking(move || ini::rewrite(&path, change)).await;
        let written = written.unwrap_or_else(|error| Err(error.to_string()));
        written.map_err(|why| {
            let remedy = "Let the executor's user own the file and be a member of its group, and write in its folder; a file that is mounted \
                          by itself cannot be replaced, so mount its folder. Then `retry`. The traffic was not touched.";
            self.wrong(("ini", "SW-0513"), ("has a file that cannot be rewritten", &why), remedy)
        })?;
        self.ask(console, "RELOAD").await?;
        let (mark, began) = (self.mark(), self.settings.served.clock.monotonic());
        loop {
            let listed = self.ask(console, "SHOW DATABASES").await?;
            if listed.iter().any(|row| field(row, "name") == mark) == wanted {
                return Ok(());
            }
            if self.settings.served.clock.monotonic() - began > RELOADED {
                let why = format!(
                    "{} was rewritten and RELOAD was said, and SHOW DATABASES does not follow",
                    self.settings.ini.display()
                );
                let remedy = "`ini` in the plan's [phase.lever] is not the file that this pgbouncer reads, or its log says why it \
                              did not take it. Mend that, then `retry`. The traffic was not touched.";
                return Err(self.wrong(("ini", "SW-0514"), ("does not read the file", &why), remedy));
            }
            self.settings.served.clock.sleep(LOOK).await;
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let address: Result<std::net::IpAddr, _> = host.trim_matches(['[', ']']).parse();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
