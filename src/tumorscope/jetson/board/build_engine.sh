#!/usr/bin/env bash
# Builds model.engine and preparation.engine on this board from the files of the same names;
# build_engine.log keeps what TensorRT said.
#   ./build_engine.sh               on the board that the bundle was made for
#   ./build_engine.sh --any-board   on another machine with TensorRT
set -euo pipefail
cd "$(dirname "$0")"

complain() { echo "build_engine.sh: $*" >&2; exit 2; }

python=${PYTHON:-python3}
log=build_engine.log
# The Jetson Nano's 4 GB are the processor's, too.
workspace=$(sed -n 's/.*"workspace_mib": *\([0-9]*\).*/\1/p' model.json 2>/dev/null || true)
precision=$(sed -n 's/.*"precision": *"\([a-z0-9]*\)".*/\1/p' model.json 2>/dev/null || true)

"$python" -m tumorscope.jetson.board.engine check "$@" || exit 2

trtexec=$(command -v trtexec || echo /usr/src/tensorrt/bin/trtexec)
[ -x "$trtexec" ] || complain "no TensorRT here: trtexec is neither on the PATH nor $trtexec; JetPack brings it"

# Which options there are differs by version: 8.4 renamed the one for memory, 8.6 the one for not timing, 10 takes
# the file's own types if told, 11 takes nothing else and has no options for precision any more.
help=$("$trtexec" --help 2>&1 || true)
common=(--timingCacheFile=timing.cache)
case $help in
  *--memPoolSize*) common+=("--memPoolSize=workspace:${workspace:-512}") ;;
  *) common+=("--workspace=${workspace:-512}") ;;
esac
case $help in
  *--skipInference*) common+=(--skipInference) ;;
  *) common+=(--buildOnly) ;;
esac

network=()
if [ "$precision" != fp32 ] && [[ $help == *--stronglyTyped* ]]; then
  network+=(--stronglyTyped)
elif [[ $help == *--fp16* ]]; then
  network+=(--fp16)
  [ "$precision" != int8 ] || network+=(--int8)
fi
# The preparation counts and compares whole numbers up to a million: 16 bits, or TF32's 10 binary places, hold less.
preparation=(--minShapes=pixels:1x32x32 --optShapes=pixels:1x256x256 --maxShapes=pixels:1x2048x2048 --noTF32)

trap 'rm -f ./*.engine.part' EXIT
{ rm -f ./*.engine ./*.engine.json "$log" && : >"$log"; } 2>/dev/null || complain "nothing can be written here: copy the bundle to a place of your own"

build() {  # NAME OPTION...
  local name=$1
  shift
  echo "building $name.engine: takes some minutes on a Jetson Nano, $log says how far it is"
  if ! "$trtexec" "--onnx=$name.onnx" "--saveEngine=$name.engine.part" "${common[@]}" "$@" >>"$log" 2>&1 ||
    [ ! -s "$name.engine.part" ]; then
    complain "TensorRT could not build $name.engine, see $log: $(grep -iE 'error|space|memory' "$log" | tail -n 1)"
  fi
  mv "$name.engine.part" "$name.engine"
  "$python" -m tumorscope.jetson.board.engine describe "$name.onnx" || exit 2
}

build model "${network[@]}"
build preparation "${preparation[@]}"
echo "the engines are ready: now run  $python verify.py"
