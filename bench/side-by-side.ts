import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { cpus } from 'node:os'
import { argv, execPath, platform, stdout } from 'node:process'

/** What one contender measured in one round: figures by name, each a number whose unit is in the name. */
export type Figures = Record<string, number>

export interface Contest {
  /** The benchmark's own file: run again with `--run NAME` for each contender, in turn, A B A B …. */
  readonly file: string
  /** Arguments that each contender's process gets as well. */
  readonly args?: readonly string[]
  readonly title: string
  /** Each is compared with those before it. */
  readonly contenders: Record<string, () => Promise<Figures>>
  /** Flags of Node for each contender's process. */
  readonly flags?: readonly string[]
  /** Figures that are compared; all the others are only printed. */
  readonly compare: readonly string[]
  readonly rounds?: number
  /** Cores each contender is pinned to where the machine can pin: `taskset` syntax. */
  readonly cores?: string
}

/**
 * Runs contenders side by side, each round in a process of its own, and prints the medians and their ratios. Machines
 * are shared and noisy: a ratio within one run is a claim, an absolute figure only a note.
 */
export async function sideBySide(contest: Contest): Promise<void> {
  const wanted = argv.indexOf('--run')
  if (wanted > 0) {
    const figures = await contest.contenders[argv[wanted + 1] ?? '']?.()
    if (!figures)
      throw new Error(`No contender "${argv[wanted + 1]}": one of ${Object.keys(contest.contenders).join(', ')}`)
    stdout.write(`\n${JSON.stringify(figures)}\n`, () => process.exit(0))
    return
  }
  const rounds = roundsOf(argv) ?? contest.rounds ?? 3
  const names = Object.keys(contest.contenders)
  const seen: Record<string, Figures[]> = Object.fromEntries(names.map(name => [name, []]))
  console.log(`${contest.title}\n${cpus()[0]?.model}, Node ${process.version}, ${rounds} rounds`)
  for (let round = 0; round < rounds; round++)
    for (const name of names) {
      if (stdout.isTTY) stdout.write(`\rround ${round + 1}/${rounds}: ${name}…      `)
      seen[name]?.push(await inProcess(contest, name))
    }
  if (stdout.isTTY) stdout.write(`\r${' '.repeat(60)}\r`)
  const figures = new Set(Object.values(seen).flatMap(rounds => Object.keys(rounds[0] ?? {})))
  for (const figure of figures) print(contest, names, seen, figure)
}

/** As asked for by `--rounds`; undefined without it. Throws for anything but a whole number from 1 on. */
export function roundsOf(args: readonly string[]): number | undefined {
  const at = args.indexOf('--rounds')
  if (at < 0) return undefined
  const rounds = Number(args[at + 1])
  if (Number.isInteger(rounds) && rounds >= 1) return rounds
  throw new Error(`--rounds takes a whole number from 1 on, not "${args[at + 1] ?? ''}"`)
}

function print(contest: Contest, names: string[], seen: Record<string, Figures[]>, figure: string): void {
  const having = names.filter(name => seen[name]?.[0]?.[figure] !== undefined)
  having.forEach((name, place) => {
    const values = valuesOf(seen, name, figure)
    const others = contest.compare.includes(figure) ? having.slice(0, place) : []
    const ratios = others.map(other => {
      const ratio = median(valuesOf(seen, other, figure).map((value, round) => (values[round] ?? Number.NaN) / value))
      return `   × ${ratio.toFixed(2)}${names.length > 2 ? ` ${other}` : ''}`
    })
    const [low, mid, high] = [Math.min(...values), median(values), Math.max(...values)].map(format)
    console.log(`  ${figure.padEnd(28)} ${name.padEnd(24)} ${mid?.padStart(10)}  (${low} … ${high})${ratios.join('')}`)
  })
}

const valuesOf = (seen: Record<string, Figures[]>, name: string, figure: string): number[] =>
  (seen[name] ?? []).map(each => each[figure] ?? Number.NaN)

/** Of an even number of values the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] ?? Number.NaN) + (sorted[Math.floor(middle)] ?? Number.NaN)) / 2
}

/** The value below which that share of the samples lies. */
export const percentile = (samples: readonly number[], share: number): number =>
  samples.toSorted((a, b) => a - b)[Math.min(samples.length - 1, Math.floor(samples.length * share))] ?? Number.NaN

const format = (value: number): string =>
  value >= 1000 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(3)

/** A child pinned to `cores`; other programs on the machine may still take part of them. */
export function pinned(cores: string | undefined, args: readonly string[], stderr: 'inherit' | 'pipe' = 'inherit') {
  const pin = cores !== undefined && platform === 'linux' && existsSync('/usr/bin/taskset')
  const command = pin ? ['taskset', '-c', cores, execPath, ...args] : [execPath, ...args]
  return spawn(command[0] ?? execPath, command.slice(1), { stdio: ['pipe', 'pipe', stderr, 'ipc'] })
}

async function inProcess({ file, args = [], cores, flags = [] }: Contest, name: string): Promise<Figures> {
  const child = pinned(cores, [...flags, file, ...args, '--run', name])
  let printed = ''
  for await (const chunk of child.stdout ?? []) printed += chunk
  const last = printed.trim().split('\n').at(-1) ?? ''
  try {
    return JSON.parse(last)
  } catch {
    throw new Error(`${name} ended with code ${child.exitCode} and without figures. Its last line: ${last}`)
  }
}
