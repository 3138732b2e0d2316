#pragma once
// Shared objects that come with the program, found in ../lib beside it (build tree and installed
// tree alike) and loaded only when somebody asks for what is in them.

#include <string>

namespace contrail {

// A handle for dlsym, or nullptr: then `*problem` is what the loader said, or "" where there is no
// such file.
void* LoadBesideProgram(const std::string& name, std::string* problem);

}  // namespace contrail
