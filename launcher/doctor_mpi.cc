// The MPI of this machine beside the one that contrail-worker was built with, and its libraries.

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <optional>

#include "common/clock.h"
#include "common/error.h"
#include "common/strings.h"
#include "launcher/child.h"
#include "launcher/commands.h"
#include "launcher/doctor.h"

namespace contrail::launcher {
namespace {

#ifndef CONTRAIL_MPI
#define CONTRAIL_MPI ""
#endif

constexpr double kPatience = 20;  // seconds; mpirun on a network file system may be slow
constexpr size_t kMostSaid = 1 << 20;

// What a program prints, both streams; nothing where it does not end in time.
std::optional<std::string> Said(const Child::Options& options) {
  Child child(options);
  std::string said;
  const Clock& clock = SystemClock();
  for (const double until = clock.Monotonic() + kPatience; said.size() < kMostSaid;) {
    pollfd readable{child.output(), POLLIN, 0};
    const double left = until - clock.Monotonic();
    if (left <= 0 || poll(&readable, 1, static_cast<int>(left * 1000) + 1) <= 0)
      return std::nullopt;
    std::array<char, 4096> buffer;
    const ssize_t got = read(child.output(), buffer.data(), buffer.size());
    if (got <= 0) break;
    said.append(buffer.data(), static_cast<size_t>(got));
  }
  return said;
}

struct Version {
  std::string flavour;  // "Open MPI"
  std::string number;   // "4.1.4"
};

std::string NumberAfter(const std::string& text, const std::string& word) {
  const size_t at = text.find(word);
  if (at == std::string::npos) return "";
  const size_t first = text.find_first_of("0123456789", at + word.size());
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_first_not_of("0123456789.", first) - first);
}

Version ReadVersion(const std::string& text) {
  if (text.find("Open MPI") != std::string::npos || text.find("OpenRTE") != std::string::npos) {
    return {"Open MPI",
            NumberAfter(text, text.find("Open MPI") != std::string::npos ? "Open MPI" : "OpenRTE")};
  }
  if (text.find("Intel(R) MPI") != std::string::npos) {
    return {"Intel MPI", NumberAfter(text, "Version")};
  }
  if (text.find("HYDRA") != std::string::npos) return {"MPICH", NumberAfter(text, "Version:")};
  if (text.find("MPICH") != std::string::npos) return {"MPICH", NumberAfter(text, "MPICH")};
  return {};
}

std::string Major(const std::string& number) { return number.substr(0, number.find('.')); }

std::string RealPath(const std::string& path) {
  char* const real = realpath(path.c_str(), nullptr);
  const std::string out = real != nullptr ? real : path;
  std::free(real);
  return out;
}

// "/opt/mpi/lib/libmpi.so.40" -> "/opt/mpi"; "/usr/bin/mpirun" -> "/usr".
std::string Prefix(const std::string& path) {
  for (const std::string folder : {"/lib/", "/lib64/", "/bin/"}) {
    const size_t at = path.find(folder);
    if (at != std::string::npos) return at == 0 ? "/usr" : path.substr(0, at);  // /lib is /usr/lib
  }
  return path;
}

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

Finding JudgeMpirun(const std::string& program, const std::optional<std::string>& said,
                    const std::string& built_with) {
  const std::string needs = built_with.empty() ? "Open MPI 4" : built_with;
  const std::string load = "load the module of " + ReadVersion(needs).flavour + " " +
                           Major(ReadVersion(needs).number) +
                           ", or name its mpirun in launcher.mpirun";
  if (!said) {
    return {Health::kBad, "mpi", program + ": no such program, or it does not answer", load};
  }
  const Version there = ReadVersion(*said);
  if (there.flavour.empty()) {
    return {Health::kBad, "mpi",
            program + " is of an unknown kind: \"" + FirstLine(*said) +
                "\", contrail-worker needs " + needs,
            load};
  }
  const std::string name = there.flavour + " " + there.number + " at " + program;
  const Version built = ReadVersion(needs);
  if (there.flavour != built.flavour) {
    return {Health::kBad, "mpi", name + ", but contrail-worker was built with " + needs, load};
  }
  if (Major(there.number) != Major(built.number)) {
    return {Health::kWarn, "mpi", name + ", contrail-worker was built with " + needs,
            load +
                "; with another major version a job of several nodes may lose its last "
                "checkpoint when it is preempted"};
  }
  return {
      Health::kOk, "mpi",
      name + (built_with.empty()             ? " (this build has no worker)"
              : there.number == built.number ? ", as contrail-worker was built with"
                                             : ", contrail-worker was built with " + built.number),
      ""};
}

std::vector<Finding> JudgeLibraries(const std::string& loader, const std::string& mpirun) {
  std::vector<Finding> findings;
  std::string mpi;
  for (const std::string& line : Split(loader, '\n')) {
    const std::string text(Trim(line));
    const size_t arrow = text.find(" => ");
    if (text.ends_with("=> not found")) {
      findings.push_back({Health::kBad, "libraries", text.substr(0, arrow) + " is not found",
                          "load the module that has it, or put its folder into LD_LIBRARY_PATH"});
    } else if (text.find("version `") != std::string::npos && text.ends_with(")") &&
               text.find("not found") != std::string::npos) {
      findings.push_back({Health::kBad, "libraries", text,
                          "this system's library is too old: use the release archive, or build "
                          "Contrail here"});
    } else if (text.starts_with("libmpi.so") && arrow != std::string::npos) {
      mpi = text.substr(arrow + 4, text.find(" (", arrow) - arrow - 4);
    }
  }
  if (!mpi.empty() && !mpirun.empty() && Prefix(RealPath(mpi)) != Prefix(RealPath(mpirun))) {
    findings.push_back({Health::kWarn, "libraries",
                        "contrail-worker loads " + mpi + ", " + mpirun + " is of another MPI",
                        "load one MPI module alone"});
  }
  if (findings.empty()) {
    findings.push_back(
        {Health::kOk, "libraries",
         "all that contrail-worker loads are there" + (mpi.empty() ? "" : ", libmpi at " + mpi),
         ""});
  }
  return findings;
}

std::vector<Finding> LookAtMpi(const std::string& mpirun) {
  const std::string program = FindProgram(mpirun);
  std::optional<std::string> said;
  if (!program.empty()) said = Said({.argv = {program, "--version"}});
  std::vector<Finding> findings = {
      JudgeMpirun(program.empty() ? mpirun : program, said, CONTRAIL_MPI)};
  if (std::string(CONTRAIL_MPI).empty()) return findings;
  try {
    // The loader lists what it would load, and starts nothing (as ldd does).
    const auto loader = Said(
        {.argv = {WorkerProgram()}, .environment = {"LD_TRACE_LOADED_OBJECTS=1", "LD_WARN=yes"}});
    for (Finding& finding : JudgeLibraries(loader.value_or(""), program)) {
      findings.push_back(std::move(finding));
    }
  } catch (const Error& error) {
    findings.push_back({Health::kBad, "libraries", error.what(), ""});
  }
  return findings;
}

}  // namespace contrail::launcher
