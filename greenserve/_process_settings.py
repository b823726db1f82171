"""The settings about processes: where they are read from, how many there are, for how long, and as whom they run."""

from __future__ import annotations

from greenserve._kinds import Choice, Count, Duration, Flag, Identity, Mode, OrOff, Several, Size, Text, Variables
from greenserve._setting import Setting

__all__ = ["PROCESS_SETTINGS"]

_FILES, _PROCESSES, _LIFE, _DEVELOPMENT = "Configuration file", "Processes", "Life of a worker", "Development"

PROCESS_SETTINGS = (
    Setting(
        "config",
        OrOff(Text("FILE", "a file that ends in .py or .toml"), "none"),
        None,
        "Read settings from this file: a Python file that assigns them, or a TOML file. Without it "
        "`greenserve.conf.py` is read where there is one in the current directory.",
        group=_FILES,
        flag="-c",
    ),
    Setting(
        "workers",
        Count(1, 1024),
        1,
        "How many processes serve. Where this is set, to 1 even, a master process starts them and replaces those that "
        "end; otherwise one process does it all, unless another setting needs a master, or it is process 1 of a "
        "container.",
        group=_PROCESSES,
        flag="-w",
        variable="WEB_CONCURRENCY",
    ),
    Setting(
        "preload",
        Flag(),
        False,
        "Load the application in the master, before the workers are forked: they share its memory, and a reload by HUP "
        "no longer brings new code.",
        group=_PROCESSES,
        aliases=("preload_app",),
    ),
    Setting(
        "sticky",
        Choice("HOW", "off", "cookie", "address"),
        "off",
        "Keep each client on one worker. cookie: by a cookie, or by the session of Socket.IO, for each request, with "
        "connections handed from worker to worker; not with TLS. address: by the client's IP address, in the kernel "
        "(Linux), with a socket for each worker.",
        group=_PROCESSES,
    ),
    Setting(
        "batch_scheduling",
        Flag(),
        True,
        "Have a worker that wakes wait until whoever has its core is done (SCHED_BATCH of Linux): on busy cores its "
        "connections are then served many at a time, for less CPU each. Off: it takes the core at once, which is for "
        "workers beside a program that computes all the time.",
        group=_PROCESSES,
    ),
    Setting(
        "pidfile",
        OrOff(Text("FILE", "a file"), "none"),
        None,
        "Write the number of the master process, or of the only one, into this file.",
        group=_PROCESSES,
        aliases=("pid",),
        flag="-p",
    ),
    Setting(
        "user",
        OrOff(Identity("USER", "the name or number of a user"), "none"),
        None,
        "Serve as this user. Who may say so is root, who can listen on any port first.",
        group=_PROCESSES,
        flag="-u",
    ),
    Setting(
        "group",
        OrOff(Identity("GROUP", "the name or number of a group"), "none"),
        None,
        "Serve as this group. Without it, that of the user; with a number that no user has, the group stays as it is.",
        group=_PROCESSES,
        flag="-g",
    ),
    Setting(
        "initgroups",
        Flag(),
        False,
        "Serve with all the groups that the user is in.",
        group=_PROCESSES,
    ),
    Setting(
        "umask",
        OrOff(Mode(), "inherited"),
        None,
        "What is taken away from the permissions of new files, in octal; or what the parent process has.",
        group=_PROCESSES,
        flag="-m",
    ),
    Setting(
        "raw_env",
        OrOff(Variables(), "none"),
        None,
        "Put variables into the environment of the application. May be given several times. A value may have commas.",
        group=_PROCESSES,
        aliases=("env",),
        flag="-e",
    ),
    Setting(
        "proc_name",
        OrOff(Text("NAME", "any text"), "none"),
        None,
        "What `ps` shows for the processes, with what each of them does. Needs greenserve[title].",
        group=_PROCESSES,
        aliases=("name",),
        flag="-n",
    ),
    Setting(
        "timeout",
        OrOff(Duration()),
        30.0,
        "A worker whose hub has not run for so long is killed and replaced: the application blocks it, or somebody "
        "stopped it. How long a request may take is request_timeout.",
        group=_LIFE,
        flag="-t",
    ),
    Setting(
        "max_requests",
        OrOff(Count()),
        None,
        "Replace a worker after so many requests, WebSockets among them. Like every replacement for age or size it "
        "serves on until the new one is ready.",
        group=_LIFE,
    ),
    Setting(
        "max_requests_jitter",
        Count(),
        0,
        "Add up to so many to max_requests, for each worker another number, so that they are not all replaced at once.",
        group=_LIFE,
    ),
    Setting(
        "worker_lifetime",
        OrOff(Duration()),
        None,
        "Replace a worker after so long. A tenth of it, at most, is left out by chance for each one.",
        group=_LIFE,
        aliases=("workers_lifetime",),
    ),
    Setting(
        "worker_max_rss",
        # Less than an empty worker has would replace all of them for ever; and who writes 512 means MiB.
        OrOff(Size(16 << 20)),
        None,
        "Replace a worker that uses more memory than this, such as 512M, as `ps` shows it under RSS.",
        group=_LIFE,
        aliases=("workers_max_rss",),
    ),
    Setting(
        "reload",
        Flag(),
        False,
        "Start the workers anew when a Python file has changed. For development. With greenserve[reload] the system "
        "tells of changes, otherwise all files are looked at once a second.",
        group=_DEVELOPMENT,
    ),
    Setting(
        "reload_engine",
        Choice("ENGINE", "auto", "poll", "watchfiles"),
        "auto",
        "How changes are noticed: poll looks at all files, watchfiles asks the system, auto does that if it can.",
        group=_DEVELOPMENT,
    ),
    Setting(
        "reload_extra_files",
        OrOff(Several("FILES", "files or directories with commas between them", str), "none"),
        None,
        "More files whose change starts the workers anew, or directories with all that is in them.",
        group=_DEVELOPMENT,
        aliases=("reload_extra_file",),
    ),
)
