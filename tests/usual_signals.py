"""Tests send signals to processes that they start. Those would ignore SIGINT or SIGHUP where pytest was started in the
background of a script, or by nohup: a process inherits it from the one that starts it."""

import signal

for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)
