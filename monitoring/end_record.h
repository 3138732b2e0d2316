#pragma once
// How a worker ended, in its own words: said in its slot of the progress board first, which no disk
// can hold up, then written where other nodes can read it. One that failed writes a file of its own
// at once, attempts/attempt_A/end_rank_R.json. Those that end well do it together, and one of them
// writes for all, attempts/attempt_A/ends.jsonl: hundreds of files and fsyncs at one moment are a
// storm. Exit codes of mpirun and srun carry no truth; a rank without a record died without being
// able to speak.

#include <cstdint>
#include <exception>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/file_system.h"
#include "monitoring/run_dir.h"

namespace contrail::monitor {

struct EndRecord {
  int attempt = 0;
  int rank = 0;
  std::string host;
  int pid = 0;
  std::string outcome;       // a name of Outcomes()
  uint64_t step = 0;         // last finished step
  uint64_t collective = 0;   // last collective entered: orders first causes before victims
  std::string error_id;      // "E-DATA-IMAGE"; empty when done or stopped
  std::string message;       // the whole line
  std::vector<int> missing;  // E-MPI-TIMEOUT: ranks that had not come to the collective
  double time = 0;           // seconds since the Unix epoch
  // The rank whose fault it was, where all ranks left together and know; -1 otherwise.
  int culprit = -1;
  // The stop signal that this very process was sent; 0 = none (it stopped with the others).
  int signal = 0;
  // The daemon that started this rank was sent the same signal: a request to the whole node, not to
  // this process.
  bool daemon_asked = false;
  int daemon = 0;  // that daemon's pid; mpirun's own on its node
};

// The outcome table.
struct Outcome {
  const char* name;     // "done" | "stopped" | "user_error" | "environment_error" | "bug"
  int exit_code;        // of a program that ends this way
  const char* meaning;  // one sentence for people
};
const std::vector<Outcome>& Outcomes();
// The exit code of an outcome; kExitBug for a name that is not in the table.
int OutcomeExitCode(const std::string& name);

// Fills outcome, error_id and message from a caught exception; std::bad_alloc is an
// environment_error (E-MEMORY), other foreign exceptions are bugs.
void DescribeFailure(const std::exception& error, EndRecord& record);

// As one line of JSON without its end, which keeps to `limit`: of a long list of missing ranks the
// first ones stay, and where that is not enough the message is shortened.
std::string EndRecordText(const EndRecord& record, size_t limit = SIZE_MAX);
std::optional<EndRecord> ParseEndRecord(const std::string& text);  // nullopt where it is none

// Makes the attempt's directory where needed; readers see a whole record or none.
void WriteEndRecord(const RunDir& run, const EndRecord& record, FileSystem& fs = PosixFileSystem());
// The good ends of an attempt as their texts, all at once.
void WriteGoodEnds(const RunDir& run, int attempt, const std::vector<std::string>& texts,
                   FileSystem& fs = PosixFileSystem());

// Of every rank that left one (a damaged one is none), by rank; its own file comes first. Throws
// E-IO where they cannot be read.
std::map<int, EndRecord> ReadEndRecords(const RunDir& run, int attempt,
                                        const FileSystem& fs = PosixFileSystem());
// nullopt where the rank left none. Throws as above.
std::optional<EndRecord> ReadEndRecord(const RunDir& run, int attempt, int rank,
                                       const FileSystem& fs = PosixFileSystem());

}  // namespace contrail::monitor
