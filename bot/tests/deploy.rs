//! What is in `config/` to deploy with: it parses, and names only what is there.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use bot::metrics::names;
use yaml_rust2::{Yaml, YamlLoader};

const BINARY: &str = env!("CARGO_BIN_EXE_switchyard");

fn config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(config(name)).unwrap_or_else(|error| panic!("config/{name}: {error}"))
}

fn help(verb: &str) -> String {
    let out = Command::new(BINARY).args([verb, "--help"]).env_clear().output().unwrap();
    String::from_utf8(out.stdout).unwrap()
}

/// A call of `switchyard` names a verb that there is, with flags that it has.
fn is_a_call(words: &[String]) {
    let help = help(&words[0]);
    assert!(help.contains(&format!("Usage: switchyard {}", words[0])), "{words:?}");
    for flag in words.iter().filter(|word| word.starts_with('-')) {
        assert!(help.contains(&format!("{flag} <")), "`switchyard {}` has no {flag}", words[0]);
    }
}

/// Variables of the environment that the program itself reads.
fn is_a_variable(name: &str) {
    let sources = ["bot/src/cli/mod.rs", "bot/src/cli/logging.rs", "bot/src/cli/open.rs"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let is_read = sources.iter().any(|file| std::fs::read_to_string(root.join(file)).unwrap().contains(name));
    assert!(is_read, "nothing reads {name}");
}

/// The documents of a YAML file.
fn yaml(name: &str) -> Vec<Yaml> {
    let documents = YamlLoader::load_from_str(&text(&format!("kubernetes/{name}")));
    documents.unwrap_or_else(|error| panic!("config/kubernetes/{name}: {error}"))
}

fn texts(of: &Yaml) -> Vec<String> {
    of.as_vec().into_iter().flatten().filter_map(Yaml::as_str).map(str::to_owned).collect()
}

/// The names behind `env:` in a plan or a bot's file.
fn environment(text: &str) -> BTreeSet<String> {
    let name =
        |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    text.match_indices("\"env:").map(|(at, mark)| name(&text[at + mark.len()..])).collect()
}

#[test]
fn the_systemd_unit_starts_what_there_is_and_is_hardened() {
    let unit = text("switchyard.service");
    let mut section = "";
    let mut start = Vec::new();
    let mut keys = BTreeSet::new();
    for line in unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.strip_suffix(']').unwrap();
            assert!(["Unit", "Service", "Install"].contains(&section), "{line}");
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("no setting: {line}"));
        keys.insert(format!("{section}.{key}"));
        if key == "ExecStart" {
            start = value.split(' ').map(str::to_owned).collect();
        }
    }
    assert_eq!(start[0], "/usr/local/bin/switchyard");
    is_a_call(&start[1..]);
    for key in [
        "Service.User",
        "Service.NoNewPrivileges",
        "Service.CapabilityBoundingSet",
        "Service.ProtectSystem",
        "Service.PrivateDevices",
        "Service.SystemCallFilter",
        "Service.Restart",
        "Install.WantedBy",
    ] {
        assert!(keys.contains(key), "{key}");
    }
    // Its directories are where the plan's comment, and the flags, say.
    for part in
        ["StateDirectory=switchyard\n", "RuntimeDirectory=switchyard\n", "/run/switchyard/switchyard.sock"]
    {
        assert!(unit.contains(part), "{part}");
    }
}

#[test]
fn the_image_is_made_from_what_there_is_and_runs_as_nobody() {
    let file = text("Containerfile");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let joined = file.replace("\\\n", " ");
    let lines: Vec<&str> = joined.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let of = |word: &str| -> Vec<&str> {
        lines.iter().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ')).collect()
    };
    let copied: BTreeSet<&str> = of("COPY")
        .into_iter()
        .filter(|what| !what.starts_with("--from"))
        .flat_map(|what| {
            let words: Vec<&str> = what.split_whitespace().collect();
            words[..words.len() - 1].to_vec()
        })
        .collect();
    for path in &copied {
        assert!(root.join(path).exists(), "{path} is not there");
    }
    // Every member of the workspace, or cargo does not read it.
    let workspace = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let members = workspace.lines().find_map(|line| line.strip_prefix("members = [")).unwrap();
    for member in members.trim_end_matches(']').split(", ") {
        let member = member.trim_matches('"').split('/').next().unwrap();
        assert!(copied.contains(member), "{member} is not copied");
    }
    let version = workspace.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    assert!(of("FROM")[0].contains(&format!("rust:{}-", version.trim_matches('"'))), "{:?}", of("FROM"));
    assert_eq!(of("FROM").len(), 2, "what builds is not what runs");
    assert_eq!(of("USER"), ["65532:65532"]);
    assert_eq!(of("ENTRYPOINT"), ["[\"switchyard\"]"]);
    let call: Vec<String> = serde_json::from_str(of("CMD")[0]).unwrap();
    is_a_call(&call);
    for variable in of("ENV") {
        is_a_variable(variable.split('=').next().unwrap());
    }
}

#[test]
fn the_manifests_of_kubernetes_name_what_there_is() {
    let kustomization = &yaml("kustomization.yaml")[0];
    let resources = texts(&kustomization["resources"]);
    assert!(resources.len() >= 3);
    let all: Vec<Yaml> = resources.iter().flat_map(|name| yaml(name)).collect();
    for document in &all {
        assert!(document["kind"].as_str().is_some() && document["metadata"]["name"].as_str().is_some());
    }
    let files = texts(&kustomization["configMapGenerator"][0]["files"]);
    assert_eq!(files, ["switchyard.toml", "bot.toml"]);
    let of_kind = |kind: &str| {
        all.iter().filter(|document| document["kind"].as_str() == Some(kind)).collect::<Vec<_>>()
    };

    let set = of_kind("StatefulSet")[0];
    assert_eq!(set["spec"]["replicas"].as_i64(), Some(2));
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true));
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"].as_bool(), Some(true));
    let call = texts(&container["args"]);
    is_a_call(&call);
    assert!(call.windows(2).any(|pair| pair == ["--instance", "$(POD_NAME)"]), "{call:?}");
    for variable in container["env"].as_vec().unwrap() {
        let name = variable["name"].as_str().unwrap();
        if name.starts_with("SWITCHYARD") {
            is_a_variable(name);
        } else {
            assert!(call.contains(&format!("$({name})")), "nothing uses {name}");
        }
    }

    // Every secret that the files point at is given, and none that is not.
    let (plan, bot) = (text("kubernetes/switchyard.toml"), text("kubernetes/bot.toml"));
    let wanted: BTreeSet<String> = environment(&plan).union(&environment(&bot)).cloned().collect();
    let secrets = text("kubernetes/secret.example.env");
    let lines = secrets.lines().filter(|line| !line.starts_with('#'));
    let files = texts(&kustomization["secretGenerator"][0]["files"]);
    let given: BTreeSet<String> = lines
        .map(str::to_owned)
        .chain(files)
        .map(|line| line.split_once('=').unwrap().0.to_owned())
        .collect();
    assert_eq!(given, wanted);
    assert!(secrets.lines().all(|line| line.starts_with('#') || line.ends_with('=')), "a value stands there");

    // The port is the bot's, the paths are the program's, and writable paths are mounted.
    let port = container["ports"][0]["containerPort"].as_i64().unwrap();
    assert!(bot.contains(&format!("listen = \"0.0.0.0:{port}\"")));
    let router = std::fs::read_to_string(config("../bot/src/inbound/mod.rs")).unwrap();
    let annotations = &set["spec"]["template"]["metadata"]["annotations"];
    let readiness = container["readinessProbe"]["httpGet"]["path"].as_str().unwrap();
    let ingress = of_kind("Ingress")[0];
    let paths = ingress["spec"]["rules"][0]["http"]["paths"].as_vec().unwrap();
    let public: Vec<&str> = paths.iter().map(|path| path["path"].as_str().unwrap()).collect();
    for path in [readiness, annotations["prometheus.io/path"].as_str().unwrap()].iter().chain(&public) {
        assert!(router.contains(&format!("route(\"{path}")), "{path} is no endpoint");
    }
    assert!(!public.contains(&readiness) && !public.contains(&"/metrics"));
    let mounts = container["volumeMounts"].as_vec().unwrap();
    let writable: Vec<&str> = mounts
        .iter()
        .filter(|mount| mount["readOnly"].as_bool() != Some(true))
        .map(|mount| mount["mountPath"].as_str().unwrap())
        .collect();
    for key in ["socket = \"", "witness = \""] {
        let path = plan.split_once(key).unwrap().1.split('"').next().unwrap();
        assert!(writable.iter().any(|folder| path.starts_with(folder)), "{path} is nowhere writable");
    }
    for flag in ["--plan", "--bot"] {
        let at = call.iter().position(|word| word == flag).unwrap();
        let name = call[at + 1].strip_prefix("/etc/switchyard/").unwrap();
        assert!(["switchyard.toml", "bot.toml"].contains(&name));
    }
}

#[test]
fn the_plan_and_the_bot_of_kubernetes_are_right_and_their_people_fit() {
    let folder = config("kubernetes");
    let run = |arguments: &[&str]| {
        let out = Command::new(BINARY).args(arguments).current_dir(&folder).env_clear().output().unwrap();
        let text =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        (out.status.code(), text)
    };
    let (code, told) = run(&["plan", "check", "switchyard.toml"]);
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = run(&["people", "check", "--plan", "switchyard.toml", "--bot", "bot.toml"]);
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn the_page_about_deploying_lists_every_number() {
    let page = std::fs::read_to_string(config("../docs/deploy.md")).unwrap();
    for family in names::ALL {
        let labels = family.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let row = format!("| `{}` | {} | {labels} |", family.name, family.kind.word());
        assert!(page.contains(&row), "docs/deploy.md has no row that begins with: {row}");
    }
    let named = page.match_indices("`switchyard_").map(|(at, _)| &page[at + 1..]);
    for rest in named {
        let name = rest.split(['`', '{']).next().unwrap();
        let is_known =
            names::ALL.iter().any(|family| family.name == name) || name.starts_with("switchyard_journal");
        assert!(is_known, "{name} is measured nowhere");
    }
}
