import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import { fetched, java } from './jars.ts'

/** What one of Kafka's own command-line tools prints, by the name of its class; rejects with its errors if it fails. */
export async function kafkaTool(main: string, ...args: readonly string[]): Promise<string> {
  const classes = path.join(await fetched('kafka', () => {}), '*')
  const lean = ['-Xmx128m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1']
  const { stdout } = await promisify(execFile)(java().binary, [...lean, '-cp', classes, main, ...args])
  return stdout
}
