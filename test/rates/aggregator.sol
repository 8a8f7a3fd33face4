// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// A data feed with the surface of Chainlink's AggregatorV3Interface, which answers what it is told.
/// It has no constructor, so that its code can be placed at the address of a real feed.
contract TestFeed {
    string public description;
    uint8 public decimals;
    uint80 private roundId;
    int256 private answer;
    uint256 private updatedAt;
    uint80 private answeredInRound;

    function describe(string calldata description_, uint8 decimals_) external {
        description = description_;
        decimals = decimals_;
    }

    function report(uint80 round, int256 answer_, uint256 updatedAt_, uint80 answeredIn) external {
        roundId = round;
        answer = answer_;
        updatedAt = updatedAt_;
        answeredInRound = answeredIn;
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return (roundId, answer, updatedAt, updatedAt, answeredInRound);
    }
}
