#pragma once
// An attempt's things in /dev/shm. Their names hold a hash of which directory the run is, so that a
// later launcher of the same run finds what one that was killed could not remove, and the owner
// token, so that nobody can have made them before us.

#include <string>

namespace contrail::launcher {

struct SharedNames {
  std::string board;    // the progress board, a file
  std::string scratch;  // Open MPI's files on one node, a folder
};

class SharedMemory {
 public:
  // A path alone does not say which directory it is: containers that share /dev/shm may each have
  // another one there. Looked at once, here: a file system that hangs later holds up nobody.
  explicit SharedMemory(const std::string& run_dir);

  SharedNames Names(int attempt, const std::string& owner) const;
  // Removes every board and scratch folder of the run that is this user's. The caller holds the
  // run's lock.
  void RemoveAll() const;

 private:
  std::string prefix_;
};

// Makes the scratch folder, for this user alone. Throws EnvironmentError E-PROGRESS where the name
// is taken or the folder cannot be made.
void MakeScratch(const std::string& path);

}  // namespace contrail::launcher
