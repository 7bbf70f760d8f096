use std::path::Path;

use super::{Config, Problem};

const EXAMPLE: &str = include_str!("../../../config/bot.example.toml");

/// The example, with every secret in one file.
fn example(secret: &Path) -> String {
    let at = format!("file:{}", secret.display());
    let lines =
        EXAMPLE.lines().map(|line| match line.split_once("\"env:").or_else(|| line.split_once("\"file:")) {
            Some((before, after)) if !line.starts_with('#') => {
                let (_, rest) = after.split_once('"').unwrap();
                format!("{before}\"{at}\"{rest}")
            }
            _ => line.to_owned(),
        });
    lines.collect::<Vec<_>>().join("\n")
}

fn read(text: &str) -> Result<Config, Vec<Problem>> {
    Config::read(text, Path::new("/nowhere"))
}

fn kept() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a secret LEAK\n").unwrap();
    file
}

#[test]
fn the_example_is_a_configuration_of_all_three() {
    let file = kept();
    let config = read(&example(file.path())).unwrap();
    let github = config.github.as_ref().unwrap();
    assert_eq!((github.app_id, github.repository.as_str()), (123_456, "acme/shop"));
    assert_eq!(github.api_url, "https://api.github.com");
    assert_eq!(github.webhook_secrets[0].label, format!("file:{}", file.path().display()));
    assert_eq!(config.slack.as_ref().unwrap().api_url, "https://slack.com/api");
    assert_eq!(config.discord.as_ref().unwrap().api_url, None);
    assert!(!format!("{config:?}").contains("LEAK"), "a secret shows");
    let scrubber = runtime::Scrubber::default();
    config.teach(&scrubber);
    assert_eq!(scrubber.scrub("it said a secret LEAK!"), "it said ***!");
}

#[test]
fn everything_wrong_is_told_at_once_with_its_line() {
    let text = r#"[http]
listen = "here"

[github]
app_id = 0
private_key = "file:/no/such/file"
webhook_secrets = []
repository = "shop"

[slack]
signing_secrets = ["hunter22"]
bot_token = "env:SWITCHYARD_NOT_SET_ANYWHERE"
team = "acme"
channels = ["ops"]

[discord]
public_key = "0000000000000000000000000000000000000000000000000000000000000000"
application_id = "me"
bot_token = "file:"
guild = "0"
channel = "ops"
api_url = "discord"
"#;
    let problems = read(text).unwrap_err();
    let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [2, 6, 7, 5, 8, 11, 12, 13, 14, 17, 18, 19, 20, 21, 22], "{problems:?}");
    let all = format!("{problems:?}");
    assert!(!all.contains("hunter22"), "{all}");
}

#[test]
fn an_empty_secret_is_no_secret() {
    let file = kept();
    std::fs::write(file.path(), " \n").unwrap();
    let problems = read(&example(file.path())).unwrap_err();
    assert_eq!(problems.len(), 5, "{problems:?}");
    assert!(problems.iter().all(|problem| problem.what.contains("is empty")), "{problems:?}");
}

#[test]
fn a_file_of_nobody_is_refused() {
    let problems = read("[http]\nlisten = \"127.0.0.1:0\"\n").unwrap_err();
    assert!(problems[0].what.contains("nobody to hear"), "{problems:?}");
    assert_eq!(read("[http]\nlisten = \"127.0.0.1:0\"\nport = 1\n").unwrap_err()[0].line, 3);
}

#[test]
fn discord_needs_its_key_or_the_gateway() {
    let file = |key: &str| {
        format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n\n[discord]\n{key}\napplication_id = \"1\"\nbot_token = \"env:PATH\"\n\
             guild = \"2\"\nchannel = \"3\"\n"
        )
    };
    let by_gateway = read(&file("gateway = true")).unwrap().discord.unwrap();
    assert!(by_gateway.gateway && by_gateway.public_key.is_none());
    let problems = read(&file("gateway = false")).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].line == 6 && problems[0].what.contains("`public_key`"), "{problems:?}");
    let problems = read(&file("public_key = \"00\"\ngateway = true")).unwrap_err();
    assert!(problems[0].line == 5 && problems[0].what.contains("64 hexadecimal digits"), "{problems:?}");
}

#[test]
fn a_secrets_relative_path_is_relative_to_the_files_own_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "a secret LEAK\n").unwrap();
    let text = "[http]\nlisten = \"127.0.0.1:0\"\n\n[discord]\ngateway = true\napplication_id = \"1\"\n\
                bot_token = \"file:token\"\nguild = \"2\"\nchannel = \"3\"\n";
    let config = Config::read(text, folder.path()).unwrap();
    assert_eq!(config.discord.unwrap().bot_token.expose(), "a secret LEAK");
    assert_eq!(read(text).unwrap_err()[0].line, 7);
}
