// Prints the versions of the tools that the addon is built with, one a line. Nx takes the text into the hash of the
// native build, so that a machine that gains a compiler builds again instead of replaying "skipped".
import { spawnSync } from 'node:child_process';

const tools = [process.env.CXX, 'c++', 'g++', 'clang++', 'cmake', 'nvcc'];
for (const tool of tools) {
  const answer = tool ? spawnSync(tool, ['--version'], { encoding: 'utf8', timeout: 10_000 }) : undefined;
  const version = answer?.stdout?.split('\n').find((line) => /\d+\.\d+/.test(line));
  if (version) console.log(`${tool}: ${version}`);
}
console.log(process.platform, process.arch);
