#pragma once
// The words a pickle of tensors is written in: opcodes (Python's pickletools) and the few names
// that it may call.

#include <map>
#include <string>

#include "model/files/elements.h"

namespace contrail::model::files {

// Python's names of the opcodes.
enum Opcode : unsigned char {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kBinFloat = 'G',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersId = 'Q',
  kReduce = 'R',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kAppends = 'e',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kEmptyDict = '}',
  kEmptyList = ']',
  kEmptyTuple = ')',
  kProto = 0x80,
  kNewObj = 0x81,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
};

// "torch.FloatStorage" and so on.
const std::map<std::string, ElementType>& StorageTypes();
// TorchScript's functions that make a list of its argument.
bool IsListBuilder(const std::string& name);
// A class of TorchScript.
bool IsModule(const std::string& name);
// Everything else that builds a tensor or what holds some.
bool IsKnown(const std::string& name);

}  // namespace contrail::model::files
