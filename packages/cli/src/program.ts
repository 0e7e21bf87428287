import { readFileSync } from 'node:fs'
import { styleText } from 'node:util'
import { Command, CommanderError } from 'commander'
import { EXIT, explain } from './exit.ts'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))

/** In the order of the help; each is loaded when it is asked for, so that a small one starts fast. */
const COMMANDS: Readonly<Record<string, () => Promise<(program: Command) => void>>> = {
  dev: async () => (await import('./commands/dev.ts')).dev,
  run: async () => (await import('./commands/run.ts')).run,
  topics: async () => (await import('./commands/topics.ts')).topics,
  tail: async () => (await import('./commands/tail.ts')).tail,
  produce: async () => (await import('./commands/produce.ts')).produce,
  groups: async () => (await import('./commands/groups.ts')).groups,
  schemas: async () => (await import('./commands/schemas.ts')).schemas,
  dlq: async () => (await import('./commands/dlq.ts')).dlq,
  replay: async () => (await import('./commands/replay.ts')).replay,
  spool: async () => (await import('./commands/spool.ts')).spool,
  backup: async () => (await import('./commands/backup.ts')).backup,
  token: async () => (await import('./commands/token.ts')).token,
}

const HELP = `
Exit codes:
  0 done   1 failed   2 wrong usage or configuration   3 a check found faults   4 nothing by that name   130 interrupted

Examples:
  weft dev                                the whole fabric in this process, on demo sessions
  weft tail alerts.v1 --follow            alerts as they are raised
  weft groups --log embedded:/var/weft    how far behind each consumer is
  weft topics --json                      one JSON object a line, as with every command`

/** The command line with the one command that `args` begin with, or else with all; nothing is parsed yet. */
export async function program(args: readonly string[] = []): Promise<Command> {
  const weft = new Command('weft')
    .description('A durable log, its pipeline and its alerts: run them, look inside, repair.')
    .version(version)
    .option('--log <url>', 'the log to work on, such as embedded:.weft; default: weft.yaml, WEFT_LOG')
    .option('--registry <url>', "the schema registry (Confluent's API) whose ids frame values on Kafka; WEFT_REGISTRY")
    .option('--config <file>', 'the configuration; default: weft.yaml here or in a folder above, WEFT_CONFIG')
    .option('--json', 'print one JSON object a line')
    .configureHelp({ showGlobalOptions: true, styleTitle: title => styleText('bold', title) })
    .showHelpAfterError('(--help tells more)')
    .addHelpText('after', HELP)
    .exitOverride()
  const only = COMMANDS[args[0] ?? '']
  for (const load of only ? [only] : Object.values(COMMANDS)) (await load())(weft)
  return weft
}

/** Runs one command line; resolves to the exit code. Results go to standard output, everything else to standard error. */
export async function main(args: readonly string[]): Promise<number> {
  // The reader of a pipe may leave before the end, as `head` does.
  process.stdout.on('error', (error: NodeJS.ErrnoException) =>
    process.exit(error.code === 'EPIPE' ? EXIT.done : EXIT.failed),
  )
  try {
    await (await program(args)).parseAsync(args, { from: 'user' })
    return EXIT.done
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage
    const { sentence, code } = explain(error)
    process.stderr.write(`${styleText('red', 'weft:', { stream: process.stderr })} ${sentence}\n`)
    if (process.env.LOG_LEVEL === 'debug' && error instanceof Error) process.stderr.write(`${error.stack}\n`)
    return code
  }
}
