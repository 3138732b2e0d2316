#include "slurm/requeue.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

#include "common/error.h"
#include "common/strings.h"

extern char** environ;

namespace contrail::slurm {

std::string Requeue(const std::string& job_id) {
  std::array<int, 2> out{};
  if (pipe2(out.data(), O_CLOEXEC) != 0) return ErrnoText(errno);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDERR_FILENO);
  std::string scontrol = "scontrol", requeue = "requeue", job = job_id;
  std::array<char*, 4> argv = {scontrol.data(), requeue.data(), job.data(), nullptr};
  pid_t pid = 0;
  const int failed = posix_spawnp(&pid, "scontrol", &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(out[1]);
  std::string said;
  if (failed == 0) {
    std::array<char, 512> buffer{};
    for (ssize_t n; (n = read(out[0], buffer.data(), buffer.size())) != 0;) {
      if (n > 0) said.append(buffer.data(), static_cast<size_t>(n));
      if (n < 0 && errno != EINTR) break;
    }
  }
  close(out[0]);
  if (failed != 0) return "cannot start scontrol: " + ErrnoText(failed);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return "";
  return said.empty() ? "scontrol requeue failed" : std::string(Trim(said));
}

}  // namespace contrail::slurm
