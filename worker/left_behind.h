#pragma once
// Whether this process has left threads behind in the file system. They may be at work until it
// ends, so it must end without taking static objects down (_exit).

namespace contrail::worker {

void LeaveThreadBehind();
bool ThreadsLeftBehind();

}  // namespace contrail::worker
