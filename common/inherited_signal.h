#pragma once
// What the parent decided about a signal before this program began.

namespace contrail {

// True where the signal is ignored; to be asked before anything handles it. nohup (SIGHUP) and
// scripts with background jobs (SIGINT) start programs so: the signal is meant for others, and
// stays ignored.
bool InheritedIgnored(int signal);

}  // namespace contrail
