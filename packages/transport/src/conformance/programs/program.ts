import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'

/** What the suite tells a program at its start. */
export const input = JSON.parse(process.argv[2] ?? '{}')

/** Tells the suite; written when it returns, so that it survives a SIGKILL that follows. */
export const tell = (event: string, ...details: unknown[]): void => {
  writeSync(1, `${JSON.stringify([event, ...details])}\n`)
}

const heard: string[] = []
const waiting: (() => void)[] = []
createInterface({ input: process.stdin })
  .on('line', line => {
    heard.push(line)
    for (const wake of waiting.splice(0)) wake()
  })
  // Nobody is left to tell anything to.
  .on('close', () => process.exit())

/** Resolves when the suite has said that line. */
export async function hear(line: string): Promise<void> {
  while (!heard.includes(line)) await new Promise<void>(resolve => waiting.push(resolve))
}
