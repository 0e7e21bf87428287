import type { Driver, DriverOptions } from '../src/kafka/driver.ts'
import { kafkajs } from '../src/kafka/kafkajs/kafkajs.ts'
import { platformatic } from '../src/kafka/platformatic/platformatic.ts'

/** Both are held to the same tests. */
export const DRIVERS: readonly (readonly [name: string, driver: (options: DriverOptions) => Driver])[] = [
  ['platformatic', platformatic],
  ['kafkajs', kafkajs],
]
