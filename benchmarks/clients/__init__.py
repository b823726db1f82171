"""Programs that load a server, each in a process of its own on the load core.

``benchmarks.processes.LoadProgram`` starts them. They speak to the benchmark in lines: a JSON object on stdout is a
report, a word on stdin tells them to go on. All of them end by themselves: when their stdin closes, or when their
time is up.
"""
