#pragma once
// What every program of Contrail does at its beginning and its end.

#include <functional>
#include <string>

namespace contrail {

// Runs `body` and returns the exit code: its own, or that of what it threw, said in one line.
// Throws nothing. Where all went well but stdout could not be written that is the error (see
// Print).
int RunProgram(const std::function<int()>& body);

// Writes a result to stdout, now. Throws EnvironmentError E-STDOUT where it does not get out (a
// full disk). A reader that went away is no error: it has seen enough.
void Print(const std::string& text);

// Throws UserError E-CWD where the working directory is gone: libraries and relative paths need
// one.
void CheckWorkingDirectory();
// The same for a program whose libraries end it before main (Intel's MKL asks where it is when it
// is loaded): to be called from .preinit_array. Ends the process; uses nothing but system calls.
void EndWithoutWorkingDirectory();

}  // namespace contrail
