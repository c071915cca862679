//! Option strings: no text panics, what parses prints as what parses to the same again, and so
//! does every configuration that never was text.
#![no_main]
use std::fmt::Debug;
use std::path::PathBuf;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use vmm::config::{
    ConfigError, ConsoleConfig, ConsoleMode, CpuAffinity, CpuTopology, CpusConfig, MAX_HOST_CPU,
    MemoryConfig, parse_size, print_size,
};

/// Text for one of the options, or a configuration to print.
#[derive(Debug, Arbitrary)]
enum Input<'a> {
    Cpus(&'a str),
    Memory(&'a str),
    Serial(&'a str),
    Console(&'a str),
    Size(&'a str),
    PrintCpus(Cpus),
    PrintMemory { size: u64, toggles: [bool; 4], hugepage_size: Option<u64> },
    PrintConsole { mode: Mode, path: &'a str },
    PrintSize(u64),
}

#[derive(Debug, Arbitrary)]
struct Cpus {
    boot: u32,
    max: u32,
    topology: Option<[u16; 4]>,
    affinity: Vec<(u32, Vec<u16>)>,
}

#[derive(Debug, Arbitrary)]
enum Mode {
    Off,
    Null,
    Tty,
    Pty,
    File,
    Socket,
}

/// An error is one line for a terminal; a value prints as what parses to it.
fn check<T: PartialEq + Debug + ToString>(
    parse: impl Fn(&str) -> Result<T, ConfigError>,
    text: &str,
) {
    match parse(text) {
        Ok(value) => assert_eq!(parse(&value.to_string()).as_ref(), Ok(&value)),
        Err(error) => {
            let message = error.to_string();
            assert!(!message.contains(char::is_control), "{message:?}");
        }
    }
}

fn cpus(Cpus { boot, max, topology, affinity }: Cpus) -> CpusConfig {
    let host_cpu = |cpu: u16| usize::from(cpu) % (MAX_HOST_CPU + 1);
    CpusConfig {
        boot_vcpus: boot,
        max_vcpus: max,
        topology: topology.map(|[threads, cores, dies, packages]| CpuTopology {
            threads_per_core: threads,
            cores_per_die: cores,
            dies_per_package: dies,
            packages,
        }),
        affinity: affinity
            .into_iter()
            .map(|(vcpu, host_cpus)| CpuAffinity {
                vcpu,
                host_cpus: host_cpus.into_iter().take(MAX_HOST_CPU).map(host_cpu).collect(),
            })
            .collect(),
    }
}

fn console(mode: &Mode, path: &str) -> ConsoleConfig {
    let path = if path.is_empty() { "x" } else { path };
    let (mode, file, socket) = match mode {
        Mode::Off => (ConsoleMode::Off, None, None),
        Mode::Null => (ConsoleMode::Null, None, None),
        Mode::Tty => (ConsoleMode::Tty, None, None),
        Mode::Pty => (ConsoleMode::Pty, None, None),
        Mode::File => (ConsoleMode::File, Some(PathBuf::from(path)), None),
        Mode::Socket => (ConsoleMode::Socket, None, Some(PathBuf::from(path))),
    };
    ConsoleConfig { mode, file, socket }
}

fuzz_target!(|input: Input<'_>| {
    match input {
        Input::Cpus(text) => check(str::parse::<CpusConfig>, text),
        Input::Memory(text) => check(str::parse::<MemoryConfig>, text),
        Input::Serial(text) => check(ConsoleConfig::parse_serial, text),
        Input::Console(text) => check(ConsoleConfig::parse_console, text),
        Input::Size(text) => {
            if let Some(bytes) = parse_size(text) {
                assert_eq!(parse_size(&print_size(bytes)), Some(bytes));
            }
        }
        Input::PrintCpus(input) => {
            let config = cpus(input);
            assert_eq!(config.to_string().parse(), Ok(config));
        }
        Input::PrintMemory { size, toggles, hugepage_size } => {
            let [shared, hugepages, prefault, thp] = toggles;
            let config = MemoryConfig { size, shared, hugepages, hugepage_size, prefault, thp };
            assert_eq!(config.to_string().parse(), Ok(config));
        }
        Input::PrintConsole { mode, path } => {
            let config = console(&mode, path);
            assert_eq!(ConsoleConfig::parse_serial(&config.to_string()), Ok(config));
        }
        Input::PrintSize(bytes) => assert_eq!(parse_size(&print_size(bytes)), Some(bytes)),
    }
});
